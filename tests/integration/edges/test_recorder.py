"""Chunks are told to AgentCache, and nothing depends on it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.support.agentcache import AgentCache, running_agentcache
from tests.support.infrastructure import Infrastructure, RunningService, ServiceStarter
from tests.support.uploads import Uploads, random_chunk
from tests.support.waiting import eventually

from .conftest import Client


@pytest_asyncio.fixture(scope="module")
async def agentcache() -> AsyncIterator[AgentCache]:
    async with running_agentcache() as running:
        yield running


@pytest.fixture(scope="module")
def edge(
    agentcache: AgentCache,
    uploads: Uploads,
    infrastructure: Infrastructure,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningService]:
    """An edge that records its chunks in AgentCache."""
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("telling"))
    told = {"EDGE_ID": "telling", "AGENTCACHE_API_URL": agentcache.url, "AGENTCACHE_API_KEY": "ac_test"}
    yield starter("chunk-worker", told)
    starter.end()


async def test_a_stored_chunk_is_recorded_in_agentcache(
    client: Client, edge: RunningService, uploads: Uploads, agentcache: AgentCache
) -> None:
    upload = await uploads.begin("session")
    await client.put(edge, upload, random_chunk(), number=8)
    await eventually(lambda: agentcache.records)
    (record,) = agentcache.records
    assert record["key"] == f"chunk:{upload.id}:7"
    assert record["value"] == {"uploaded": True, "edge": "telling"}
    assert agentcache.keys == ["ac_test"]


async def test_a_chunk_does_not_wait_for_agentcache(
    client: Client, edge: RunningService, uploads: Uploads, agentcache: AgentCache
) -> None:
    agentcache.hanging = asyncio.Event()
    upload = await uploads.begin("session")
    first = await client.put(edge, upload, random_chunk(), number=1)
    await eventually(lambda: f"chunk:{upload.id}:0" in [record["key"] for record in agentcache.records])
    assert first.status == 200
    seconds = []
    for number in (2, 3, 4):
        started = time.monotonic()
        assert (await client.put(edge, upload, random_chunk(), number=number)).status == 200
        seconds.append(time.monotonic() - started)
    # Each would take as long as AgentCache's answer is waited for; a busy machine may delay some.
    assert min(seconds) < 2
