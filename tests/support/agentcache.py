"""AgentCache's API, as far as JettyThunder calls it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class AgentCache:
    """Takes records of chunks and lists edges; it may hang, or answer nonsense."""

    url: str = ""
    records: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    listing: Any = field(default_factory=list)
    hanging: asyncio.Event | None = None
    moved_to: str | None = None
    asked: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("X-API-Key"))
        self.records.append(await request.json())
        await self._hang()
        return web.json_response({"success": True})

    async def list_edges(self, _: web.Request) -> web.Response:
        self.asked += 1
        await self._hang()
        if self.moved_to is not None:
            raise web.HTTPTemporaryRedirect(self.moved_to)
        return web.json_response(self.listing)

    async def _hang(self) -> None:
        if self.hanging is not None:
            await self.hanging.wait()


@contextlib.asynccontextmanager
async def running_agentcache() -> AsyncIterator[AgentCache]:
    """AgentCache on a port of its own."""
    running = AgentCache()
    app = web.Application()
    app.router.add_post("/api/cache/set", running.take)
    app.router.add_get("/api/edges", running.list_edges)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api"
    yield running
    if running.hanging is not None:
        running.hanging.set()
    await runner.cleanup()
