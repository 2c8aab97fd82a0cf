"""Where chunks can be sent: our own chunk-workers, AgentCache's edges, and the object storage itself."""

import asyncio
import time
from dataclasses import asdict

import aiohttp
from pydantic import BaseModel, HttpUrl, TypeAdapter, ValidationError

from jettythunder import telemetry
from storage_gateway.edges.store import Edge, EdgeStore

log = telemetry.logger(__name__)

_SILENT_SECONDS = 15
_ASK_AGAIN_SECONDS = 60
_TIMEOUT_SECONDS = 2


class _Listed(BaseModel):
    id: str
    region: str = "unknown"
    url: HttpUrl


_listed: TypeAdapter[list[_Listed]] = TypeAdapter(list[_Listed])


class Edges:
    """The edges known now.

    Args:
        agentcache_url: AgentCache's API, whose own edges are merged in where it answers; empty for none.
        direct_url: the object storage's address where clients may send chunks straight to it, else None.
    """

    def __init__(self, store: EdgeStore, *, agentcache_url: str, direct_url: str | None, region: str) -> None:
        self._store = store
        self._agentcache_url = agentcache_url
        self._direct = [Edge("lyve", region, direct_url, "direct")] if direct_url else []
        self._external: list[Edge] = []
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()

    async def known(self) -> list[Edge]:
        """All edges: the least busy workers first, then AgentCache's, then the object storage."""
        workers = await self._store.live(silent_seconds=_SILENT_SECONDS)
        return [*workers, *await self._agentcache_edges(), *self._direct]

    async def answer(self) -> list[dict[str, str]]:
        """All edges as clients see them."""
        return [asdict(edge) for edge in await self.known()]

    async def _agentcache_edges(self) -> list[Edge]:
        if not self._agentcache_url or time.monotonic() - self._asked_at < _ASK_AGAIN_SECONDS:
            return self._external
        if self._asking.locked():
            return self._external
        async with self._asking:
            self._asked_at = time.monotonic()
            try:
                timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
                async with (
                    aiohttp.ClientSession(timeout=timeout) as http,
                    http.get(f"{self._agentcache_url}/edges") as answer,
                ):
                    answer.raise_for_status()
                    found = await answer.json()
                listed = found.get("edges", []) if isinstance(found, dict) else found
                self._external = [
                    Edge(edge.id, edge.region, str(edge.url).rstrip("/"), "external")
                    for edge in _listed.validate_python(listed)
                ]
            except (aiohttp.ClientError, TimeoutError, ValidationError, ValueError) as error:
                # Optional at run time: our own edges serve without it.
                self._external = []
                log.info("agentcache lists no edges", error_type=type(error).__name__)
        return self._external
