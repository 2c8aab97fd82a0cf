"""Workers that come and go while chunks are in flight, on servers of this module's own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.infrastructure import Infrastructure, ServiceStarter
from tests.support.uploads import Upload, random_chunk
from tests.support.waiting import eventually

from .conftest import Gateway, opened_gateway


@pytest_asyncio.fixture(scope="module")
async def gateway(own_infrastructure: Infrastructure) -> AsyncIterator[Gateway]:
    async with opened_gateway(own_infrastructure) as opened:
        yield opened


@pytest.fixture
def start_worker(own_infrastructure: Infrastructure, tmp_path: Path) -> Iterator[ServiceStarter]:
    starter = ServiceStarter(own_infrastructure, tmp_path)
    yield starter
    starter.end()


def held_half_way(gateway: Gateway, upload: Upload, number: int) -> asyncio.Event:
    """Let the chunk's bytes stop half-way; the event lets them go on."""
    path = f"/internal/chunks/{upload.id}/{number}"
    gateway.spool.held[path] = asyncio.Event()
    return gateway.spool.held[path]


def fetched(gateway: Gateway, upload: Upload, number: int) -> int:
    return gateway.spool.requests.count(f"/internal/chunks/{upload.id}/{number}")


async def test_another_worker_takes_the_chunk_of_a_killed_one(
    gateway: Gateway, start_worker: ServiceStarter
) -> None:
    upload, data = await gateway.uploads.begin(), random_chunk()
    release = held_half_way(gateway, upload, 1)
    doomed = start_worker("chunk-worker", {"EDGE_ID": "doomed"})
    storing = asyncio.create_task(gateway.stored(gateway.command(upload, data)))
    await eventually(lambda: fetched(gateway, upload, 1) == 1)
    start_worker("chunk-worker", {"EDGE_ID": "successor"})
    doomed.kill()
    await eventually(lambda: fetched(gateway, upload, 1) == 2)
    release.set()
    await storing
    (row,) = await gateway.uploads.rows(upload)
    assert row["edge"] == "successor"
    assert await gateway.uploads.object_of(upload) == data


async def test_chunks_are_shared_among_workers(gateway: Gateway, start_worker: ServiceStarter) -> None:
    upload = await gateway.uploads.begin()
    for name in ("one", "two"):
        start_worker("chunk-worker", {"EDGE_ID": name, "CHUNK_WORKER_PREFETCH": "1"})
    commands = [gateway.command(upload, random_chunk(), number=n) for n in range(1, 9)]
    await asyncio.gather(*map(gateway.stored, commands))
    assert {row["edge"] for row in await gateway.uploads.rows(upload)} == {"one", "two"}


async def test_a_worker_told_to_end_finishes_its_chunk_and_leaves_the_rest(
    gateway: Gateway, start_worker: ServiceStarter
) -> None:
    upload = await gateway.uploads.begin()
    release = held_half_way(gateway, upload, 1)
    worker = start_worker("chunk-worker", {"EDGE_ID": "ending", "CHUNK_WORKER_PREFETCH": "1"})
    first = asyncio.create_task(gateway.stored(gateway.command(upload, random_chunk(), number=1)))
    await eventually(lambda: fetched(gateway, upload, 1) == 1)
    second = asyncio.create_task(gateway.stored(gateway.command(upload, random_chunk(), number=2)))
    ended = asyncio.create_task(asyncio.to_thread(worker.terminate))
    await eventually(lambda: "draining" in worker.log())
    release.set()
    await first
    await ended
    assert fetched(gateway, upload, 2) == 0
    start_worker("chunk-worker", {"EDGE_ID": "next"})
    await second
    assert [row["edge"] for row in await gateway.uploads.rows(upload)] == ["ending", "next"]
