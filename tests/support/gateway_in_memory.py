"""A gateway in memory: what the client sends is read as the real one reads it."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from aiohttp import web
from werkzeug.http import parse_options_header


@dataclass
class Stored:
    """An asset and its bytes."""

    filename: str
    content: bytes
    cache_key: str | None = None
    id: str = field(default_factory=lambda: str(uuid4()))

    @property
    def record(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "filename": self.filename,
            "size_bytes": len(self.content),
            "content_hash": hashlib.sha256(self.content).hexdigest(),
            "cache_key": self.cache_key,
            "created_at": (datetime.now(UTC) - timedelta(hours=2)).isoformat(),
        }


class Gateway:
    """Takes forms, gives assets, and keeps the headers of every request."""

    def __init__(self) -> None:
        self.assets: dict[str, Stored] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.redirect_to: str | None = None
        self.problems: list[dict[str, Any]] = []
        """What the next forms are refused with, each once; `status` is the answer's."""
        self.refused_names: frozenset[str] = frozenset()
        self.together = 0
        """How many forms wait for each other before they are answered."""
        self._arrived = 0
        self._met = asyncio.Event()
        self._peers: set[tuple[str, int]] = set()
        self.url = ""

    def add(self, filename: str, content: bytes = b"content", cache_key: str | None = None) -> str:
        """Store an asset; its id."""
        stored = Stored(filename, content, cache_key)
        self.assets[stored.id] = stored
        return stored.id

    @property
    def connections(self) -> int:
        """How many connections were opened."""
        return len(self._peers)

    async def start(self, host: str = "127.0.0.1") -> web.AppRunner:
        """Listen on a port of loopback."""
        app = web.Application(middlewares=[self._note], client_max_size=2**30)
        app.router.add_post("/api/storage/upload", self._upload)
        app.router.add_get("/api/storage/assets", self._list)
        app.router.add_get("/api/storage/assets/{id}", self._fetch)
        app.router.add_get("/api/storage/download", self._link)
        app.router.add_get("/bytes/{id}", self._bytes)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, host, 0)
        await site.start()
        named = f"[{host}]" if ":" in host else host
        self.url = f"http://{named}:{runner.addresses[0][1]}"
        return runner

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.path, dict(request.headers)))
        if request.transport is not None:
            self._peers.add(request.transport.get_extra_info("peername")[:2])
        if self.redirect_to is not None:
            raise web.HTTPTemporaryRedirect(f"{self.redirect_to}{request.path}")
        response: web.StreamResponse = await handler(request)
        return response

    async def _upload(self, request: web.Request) -> web.Response:
        self._arrived += 1
        if self._arrived >= self.together:
            self._met.set()
        await self._met.wait()
        return await self._store(request)

    async def _store(self, request: web.Request) -> web.Response:
        cache_key = None
        async for part in await request.multipart():
            assert not isinstance(part, type(None))
            _, options = parse_options_header(part.headers["Content-Disposition"])
            content = bytes(await part.read())  # type: ignore[union-attr]
            if options["name"] == "cache_key":
                cache_key = content.decode()
            if options["name"] != "file":
                continue
            if self.problems:
                return _problem(**self.problems.pop(0))
            if options["filename"] in self.refused_names:
                return _problem(status=413, code="file_too_large", detail="It is too large.")
            stored = self.assets[self.add(options["filename"], content, cache_key)]
            return web.json_response({"success": True, "asset": stored.record}, status=201)
        raise web.HTTPBadRequest

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"assets": [stored.record for stored in self.assets.values()]})

    async def _fetch(self, request: web.Request) -> web.Response:
        return web.json_response({"asset": self._asset(request.match_info["id"]).record})

    async def _link(self, request: web.Request) -> web.Response:
        stored = self._asset(request.query["asset_id"])
        expires_at = datetime.now(UTC) + timedelta(minutes=5)
        link = {"url": f"{self.url}/bytes/{stored.id}", "expires_at": expires_at.isoformat()}
        return web.json_response({"asset": stored.record, **link})

    async def _bytes(self, request: web.Request) -> web.Response:
        content = self._asset(request.match_info["id"]).content
        first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
        wanted = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        return web.Response(body=content[int(first) : int(last) + 1], status=206, headers=wanted)

    def _asset(self, asset_id: str) -> Stored:
        if asset_id not in self.assets:
            problem = '{"code": "asset_not_found", "detail": "There is no such asset.", "retryable": false}'
            raise web.HTTPNotFound(text=problem, content_type="application/problem+json")
        return self.assets[asset_id]


def _problem(*, status: int, code: str, **more: Any) -> web.Response:
    problem = {"code": code, "detail": "It is refused.", "retryable": status in (429, 503), **more}
    headers = {"Retry-After": "0"} if status == 429 else {}
    return web.json_response(problem, status=status, headers=headers, content_type="application/problem+json")
