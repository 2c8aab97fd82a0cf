"""Chunks are told to AgentCache, and nothing depends on it."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio
from aiohttp import web
from tests.support.infrastructure import ServiceStarter
from tests.support.uploads import Uploads, random_chunk
from tests.support.waiting import eventually

from .conftest import Client


@dataclass
class AgentCache:
    """AgentCache's API, which may hang."""

    url: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    hanging: asyncio.Event | None = None

    async def take(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("X-API-Key"))
        self.records.append(await request.json())
        if self.hanging is not None:
            await self.hanging.wait()
        return web.json_response({"success": True})


@pytest_asyncio.fixture
async def agentcache() -> AsyncIterator[AgentCache]:
    running = AgentCache()
    app = web.Application()
    app.router.add_post("/api/cache/set", running.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api"
    yield running
    if running.hanging is not None:
        running.hanging.set()
    await runner.cleanup()


async def test_a_stored_chunk_is_recorded_in_agentcache(
    client: Client, start_service: ServiceStarter, uploads: Uploads, agentcache: AgentCache
) -> None:
    told = {"EDGE_ID": "telling", "AGENTCACHE_API_URL": agentcache.url, "AGENTCACHE_API_KEY": "ac_test"}
    edge = start_service("chunk-worker", told)
    upload = await uploads.begin("session")
    await client.put(edge, upload, random_chunk(), number=8)
    await eventually(lambda: agentcache.records)
    (record,) = agentcache.records
    assert record["key"] == f"chunk:{upload.id}:7"
    assert record["value"] == {"uploaded": True, "edge": "telling"}
    assert agentcache.keys == ["ac_test"]


async def test_a_chunk_does_not_wait_for_agentcache(
    client: Client, start_service: ServiceStarter, uploads: Uploads, agentcache: AgentCache
) -> None:
    agentcache.hanging = asyncio.Event()
    edge = start_service("chunk-worker", {"EDGE_ID": "patient", "AGENTCACHE_API_URL": agentcache.url})
    upload = await uploads.begin("session")
    first = await client.put(edge, upload, random_chunk(), number=1)
    await eventually(lambda: agentcache.records)
    started = time.monotonic()
    second = await client.put(edge, upload, random_chunk(), number=2)
    assert (first.status, second.status) == (200, 200)
    assert time.monotonic() - started < 2
