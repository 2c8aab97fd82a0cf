"""An edge as far as a gateway asks it for its health."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class HealthyEdge:
    """Says who it is; it may fail, or answer nonsense."""

    url: str = ""
    status: int = 200
    says: Any = field(default_factory=dict)
    moved_to: str | None = None
    asked: int = 0

    async def answer(self, _: web.Request) -> web.Response:
        self.asked += 1
        if self.moved_to is not None:
            raise web.HTTPTemporaryRedirect(self.moved_to)
        return web.json_response(self.says, status=self.status)


@contextlib.asynccontextmanager
async def running_edge(**says: Any) -> AsyncIterator[HealthyEdge]:
    """An edge on a port of its own."""
    running = HealthyEdge(says=says)
    app = web.Application()
    app.router.add_get("/healthz", running.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    running.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield running
    await runner.cleanup()
