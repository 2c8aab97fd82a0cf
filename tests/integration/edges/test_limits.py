"""What an edge holds at once, and for how long."""

import asyncio

import psutil
from tests.support.infrastructure import RunningService, ServiceStarter
from tests.support.uploads import Uploads, random_chunk
from tests.support.waiting import eventually

from .conftest import BRISK, Client, listed_load

MIB = 1 << 20


async def test_a_full_edge_says_so_and_when_to_come_back(
    client: Client, start_service: ServiceStarter, uploads: Uploads
) -> None:
    narrow = start_service("chunk-worker", {"EDGE_ID": "narrow", "EDGE_BUDGET_BYTES": "1"})
    upload, other = await uploads.begin("session"), await uploads.begin("session")
    data = random_chunk()
    async with client.half_sent(narrow, upload, random_chunk()) as sending:

        async def refused() -> bool:
            answer = await client.put(narrow, other, data)
            assert answer.problem == (503, "edge_busy")
            assert int(answer.headers["Retry-After"]) >= 1
            return True

        await eventually(refused)
        assert await sending.finish() == 200
    assert (await client.put(narrow, other, data)).status == 200


async def test_a_silent_client_is_given_up(
    client: Client, start_service: ServiceStarter, uploads: Uploads
) -> None:
    impatient = start_service("chunk-worker", {"EDGE_ID": "impatient", "EDGE_STALL_SECONDS": "0.5"})
    upload = await uploads.begin("session")
    async with client.half_sent(impatient, upload, random_chunk()) as sending, asyncio.timeout(60):
        assert await sending.status() == 408


async def test_a_large_chunk_is_not_held_in_memory(
    client: Client, edge: RunningService, uploads: Uploads
) -> None:
    process = psutil.Process(edge.pid)
    await client.put(edge, await uploads.begin("session"), random_chunk())
    before_bytes = process.memory_info().rss
    async with client.half_sent(edge, await uploads.begin("session"), bytes(128 * MIB)) as sending:
        # drain has returned, so all but the sockets' buffers of 64 MiB is in the edge or past it.
        assert process.memory_info().rss - before_bytes < 24 * MIB
        assert await sending.finish() == 200


async def test_an_edge_told_to_end_finishes_the_chunk_it_receives(
    client: Client, start_service: ServiceStarter, uploads: Uploads
) -> None:
    edge = start_service("chunk-worker", {"EDGE_ID": "ending", **BRISK})
    upload, data = await uploads.begin("session"), random_chunk()
    async with client.half_sent(edge, upload, data) as sending:
        await eventually(lambda: listed_load(uploads, "ending"))
        ended = asyncio.create_task(asyncio.to_thread(edge.terminate))
        await eventually(lambda: "draining" in edge.log())
        assert await sending.finish() == 200
        await ended
    assert await uploads.object_of(upload) == data


async def test_a_client_that_goes_away_leaves_nothing(
    client: Client, edge: RunningService, uploads: Uploads
) -> None:
    upload, data = await uploads.begin("session"), random_chunk()
    async with client.half_sent(edge, upload, data):
        await eventually(lambda: listed_load(uploads, "near"))

    async def idle() -> bool:
        return await listed_load(uploads, "near") == 0

    await eventually(idle)
    assert await uploads.rows(upload) == []
