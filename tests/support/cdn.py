"""A desktop CDN under test, and what it reads from: a gateway over HTTP, or a shelf in memory."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tests.support.waiting import eventually

from jettythunder_cdn.errors import Changed, Refused, UpstreamUnavailable
from jettythunder_cdn.listening import listen, serving
from jettythunder_cdn.model import BLOCK_BYTES, Asset, Credential, Span
from jettythunder_cdn.reading.cache import Cache
from jettythunder_cdn.routes import CACHE
from jettythunder_cdn.server import opened
from jettythunder_cdn.settings import Settings
from jettythunder_client.config import store_credentials

KEY, SECRET = "jt_test_a", "jts_a"
ORIGIN = "https://agentcache.ai"
ACCOUNT = Credential("account:a")

_PATTERN = random.Random(7).randbytes(1_000_003)


@dataclass
class Clock:
    """A clock that a test sets."""

    now: float = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Bytes:
    """An asset's bytes, which need not be in memory: a pattern that repeats at no block's length."""

    size_bytes: int
    seed: int = 0

    def read(self, start: int, stop: int) -> bytes:
        stop = min(stop, self.size_bytes)
        first = (start + self.seed) % len(_PATTERN)
        found = _PATTERN[first : first + stop - start]
        while len(found) < stop - start:
            found += _PATTERN[: stop - start - len(found)]
        return found

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for start in range(0, self.size_bytes, BLOCK_BYTES):
            digest.update(self.read(start, start + BLOCK_BYTES))
        return digest.hexdigest()


@dataclass(frozen=True)
class Held:
    """An asset's bytes in memory, as they were uploaded."""

    content: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.content)

    def read(self, start: int, stop: int) -> bytes:
        return self.content[start:stop]

    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def asset_of(content: Bytes, *, asset_id: str = "a", etag: str | None = None) -> Asset:
    """The asset with these bytes."""
    return Asset(
        asset_id, etag or content.sha256(), content.size_bytes, "application/octet-stream", "inline", ""
    )


class Shelf:
    """An upstream in memory; counts what is read of it, and fails as it is told to."""

    def __init__(self) -> None:
        self.assets: dict[str, tuple[Asset, Bytes]] = {}
        self.reads: list[tuple[str, Span]] = []
        self.looks = 0
        self.is_down = False
        self.refusal: int | None = None
        self.flip = False

    def put(self, asset: Asset, content: Bytes) -> None:
        self.assets[asset.id] = asset, content

    def _check(self, asset_id: str) -> tuple[Asset, Bytes]:
        if self.is_down:
            raise UpstreamUnavailable
        if self.refusal is not None:
            raise Refused(status=self.refusal)
        if asset_id not in self.assets:
            raise Refused(status=404)
        return self.assets[asset_id]

    async def look(self, asset_id: str, credential: Credential, known_etag: str | None) -> Asset | None:
        self.looks += 1
        asset, _ = self._check(asset_id)
        return None if known_etag == asset.etag else asset

    @asynccontextmanager
    async def read(
        self, asset: Asset, credential: Credential, span: Span
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        known, content = self._check(asset.id)
        if known.etag != asset.etag:
            raise Changed
        self.reads.append((asset.id, span))
        yield self._pieces(content, span)

    async def _pieces(self, content: Bytes, span: Span) -> AsyncIterator[bytes]:
        for start in range(span.start, span.end + 1, 300_000):
            if self.is_down:
                raise UpstreamUnavailable
            piece = content.read(start, min(start + 300_000, span.end + 1))
            yield bytes([piece[0] ^ 1]) + piece[1:] if self.flip else piece

    async def find(self, cache_key: str, credential: Credential) -> str:
        return self._check(cache_key)[0].id

    @property
    def fetched(self) -> Counter[tuple[str, int]]:
        """How often each block was asked for."""
        return Counter(
            (asset_id, number)
            for asset_id, span in self.reads
            for number in range(span.first_block, span.last_block + 1)
        )


@dataclass
class Gateway:
    """A gateway over HTTP that streams assets, and notes every request."""

    contents: dict[str, Bytes | Held] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    cache_keys: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, Mapping[str, str]]] = field(default_factory=list)
    status: int | None = None
    """Answer everything with this status."""
    is_down: bool = False
    """Hang up on everybody."""
    cut_after: int | None = None
    """Hang up in the middle, after so many bytes of an answer."""
    ignores_range: bool = False
    signature: str = "k1.good"
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Bytes are sent once it is set."""
    url: str = ""

    def add(self, asset_id: str, content: Bytes, *, etag: str | None = None) -> Bytes:
        self.contents[asset_id] = content
        self.etags[asset_id] = etag or content.sha256()
        return content

    def ranges(self) -> list[str]:
        """The Range headers of all GETs of bytes, in their order."""
        return [headers.get("Range", "whole") for method, _, headers in self.requests if method == "GET"]

    async def start(self) -> web.AppRunner:
        self.gate.set()
        app = web.Application(middlewares=[self._note], client_max_size=2**30)
        app.router.add_get("/api/agentcache/quota", self._quota)
        app.router.add_post("/api/storage/upload", self._upload)
        app.router.add_get("/api/storage/stream/{id}", self._stream)
        app.router.add_get("/api/storage/assets", self._list)
        app.router.add_get("/api/storage/assets/{id}", self._record)
        app.router.add_get("/api/storage/download", self._link)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.requests.append((request.method, request.path, dict(request.headers)))
        if self.is_down:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if self.status is not None:
            return web.Response(status=self.status)
        own = (
            request.headers.get("Authorization") == f"Bearer {KEY}"
            and request.headers.get("X-API-Secret") == SECRET
        )
        if not own and request.query.get("signature") != self.signature:
            return web.Response(status=401 if "signature" not in request.query else 403)
        response: web.StreamResponse = await handler(request)
        return response

    async def _quota(self, _: web.Request) -> web.Response:
        resource = {"used_bytes": 5, "reserved_bytes": 0, "quota_bytes": 100, "percent": 5.0}
        figures = {"storage": resource, "bandwidth": resource, "warnings": []}
        return web.json_response({"tier": "pro", "jetty_speed_enabled": True, **figures})

    async def _upload(self, request: web.Request) -> web.Response:
        await self.gate.wait()
        reader = await request.multipart()
        part = await reader.next()
        assert isinstance(part, aiohttp.BodyPartReader)
        held = Held(bytes(await part.read()))
        asset_id = f"uploaded-{len(self.contents)}"
        self.contents[asset_id], self.etags[asset_id] = held, held.sha256()
        record = {
            "id": asset_id,
            "filename": part.filename,
            "size_bytes": held.size_bytes,
            "content_hash": held.sha256(),
            "content_hash_verified": True,
            "content_type": "text/plain",
        }
        return web.json_response({"success": True, "asset": record}, status=201)

    async def _record(self, request: web.Request) -> web.Response:
        return web.json_response({"success": True, "asset": self._asset(request.match_info["id"])})

    async def _link(self, request: web.Request) -> web.Response:
        asset_id = request.query["asset_id"]
        url = f"{self.url}/api/storage/stream/{asset_id}?signature={self.signature}"
        expires_at = (datetime.now(UTC) + timedelta(minutes=5)).isoformat()
        return web.json_response({"url": url, "expires_at": expires_at, "asset": self._asset(asset_id)})

    def _asset(self, asset_id: str) -> dict[str, Any]:
        content = self.contents[asset_id]
        return {
            "id": asset_id,
            "filename": f"{asset_id}.bin",
            "size_bytes": content.size_bytes,
            "content_hash": content.sha256(),
        }

    async def _list(self, request: web.Request) -> web.Response:
        named = self.cache_keys.get(request.query["cache_key"])
        return web.json_response({"assets": [{"id": named}] if named else []})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        asset_id = request.match_info["id"]
        if asset_id not in self.contents:
            return web.Response(status=404)
        content, etag = self.contents[asset_id], f'"{self.etags[asset_id]}"'
        headers = {
            "ETag": etag,
            "Content-Type": "video/mp4",
            "Last-Modified": "Mon, 01 Jan 2029 00:00:00 GMT",
        }
        # The tag from before a hash was verified holds for good.
        holding = (etag, f'"asset-{asset_id}"')
        if request.headers.get("If-None-Match") in holding:
            return web.Response(status=304, headers=headers)
        if request.headers.get("If-Match", etag) not in holding:
            return web.Response(status=412, headers=headers)
        start, stop, status = 0, content.size_bytes, 200
        if "Range" in request.headers and not self.ignores_range:
            first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
            start, stop, status = int(first), int(last) + 1, 206
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size_bytes}"
        headers["Content-Length"] = str(stop - start)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        await self.gate.wait()
        sent = 0
        for at in range(start, stop, 65_536):
            if self.cut_after is not None and sent >= self.cut_after:
                assert request.transport is not None
                request.transport.abort()
                return response
            piece = content.read(at, min(at + 65_536, stop))
            await response.write(piece)
            sent += len(piece)
        return response


@dataclass
class Cdn:
    """A desktop CDN that runs."""

    url: str
    token: str
    settings: Settings
    http: aiohttp.ClientSession
    cache: Cache

    async def get(self, path: str, *, method: str = "GET", token: bool = True, **headers: str) -> Answer:
        """One answer, read to its end."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        if token:
            given["Authorization"] = f"Bearer {self.token}"
        async with self.http.request(method, self.url + path, headers=given) as response:
            answer = Answer(response.status, response.headers, await response.read())
        # What was read is stored, and verified where it is whole.
        await self.cache.settled()
        return answer


@dataclass(frozen=True)
class Answer:
    """What a desktop CDN answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def settings_in(folder: Path, *, port: int, **other: Any) -> Settings:
    """Settings with everything below a folder."""
    settings = Settings(
        folder=folder / "cache",
        state_dir=folder / "state" / "cdn",
        port=port,
        budget_bytes=10_000_000_000,
        min_free_bytes=0,
        offline_seconds=86_400,
        cache_key_seconds=0,
        cache_key_offline=True,
        origins=frozenset({ORIGIN}),
    )
    return replace(settings, **other)


def environment_in(folder: Path, *, api_url: str, port: int) -> dict[str, str]:
    """The environment of a signed-in machine whose files are below a folder."""
    config_file = folder / "config.toml"
    store_credentials(api_url=api_url, api_key=KEY, api_secret=SECRET, config_file=config_file)
    return {
        "JETTYTHUNDER_CONFIG": str(config_file),
        "JETTYTHUNDER_STATE_DIR": str(folder / "state"),
        "JETTYTHUNDER_CDN_DIR": str(folder / "cache"),
        "JETTYTHUNDER_CDN_MIN_FREE_MB": "0",
        "JETTYTHUNDER_CDN_MAX_MB": "4000",
        "JETTYSPEED_CDN_URL": f"http://localhost:{port}",
    }


@asynccontextmanager
async def running_cdn(
    folder: Path, api_url: str, *, clock: Callable[[], float] | None = None, **other: Any
) -> AsyncIterator[Cdn]:
    """A desktop CDN in this process, on a free port."""
    sockets = listen(0)[:1]
    port = sockets[0].getsockname()[1]
    settings = settings_in(folder, port=port, **other)
    environment = environment_in(folder, api_url=api_url, port=port)
    how = {} if clock is None else {"clock": clock}
    async with (
        opened(settings, environment, **how) as app,
        serving(app, sockets, shutdown_seconds=0.1),
    ):
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as http:
            token = (settings.state_dir / "token").read_text().strip()
            yield Cdn(f"http://127.0.0.1:{port}", token, settings, http, app[CACHE])
    sockets[0].close()


@dataclass
class CdnProcess:
    """A desktop CDN in a process of its own."""

    process: asyncio.subprocess.Process
    url: str
    token: str
    environment: Mapping[str, str]

    @property
    def resident_bytes(self) -> int:
        """The most memory that it had."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    async def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> None:
        """SIGTERM, and wait."""
        self.process.terminate()
        async with asyncio.timeout(30):
            await self.process.wait()


@asynccontextmanager
async def cdn_process(
    environment: Mapping[str, str], http: aiohttp.ClientSession
) -> AsyncIterator[CdnProcess]:
    """Start a process and wait until it answers; it is killed in the end, if it still runs."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "jettythunder_cdn", env={**inherited, **environment}
    )
    url = environment["JETTYSPEED_CDN_URL"].replace("localhost", "127.0.0.1")

    async def answers() -> bool:
        assert process.returncode is None
        try:
            async with http.get(f"{url}/healthz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    try:
        await eventually(answers, timeout_seconds=30)
        token = (Path(environment["JETTYTHUNDER_STATE_DIR"]) / "cdn" / "token").read_text().strip()
        yield CdnProcess(process, url, token, environment)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
