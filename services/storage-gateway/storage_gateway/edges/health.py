"""Asking edges that do not list themselves whether they serve: Cloudflare Workers, and AgentCache's edges."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
from prometheus_client import Counter
from pydantic import BaseModel, Field

from jettythunder import telemetry
from jettythunder.lifecycle import Periodic
from storage_gateway.edges.answers import read_json
from storage_gateway.edges.known import SILENT_SECONDS
from storage_gateway.edges.store import Edge

log = telemetry.logger(__name__)

_INTERVAL_SECONDS = 5
_TIMEOUT_SECONDS = 2
_MOST_BYTES = 4096

_checks = Counter("jettythunder_edge_health_checks_total", "Health checks of edges", ["edge", "outcome"])


class _Health(BaseModel):
    """What an edge answers at ``/healthz``; edges with a database of ours say less."""

    id: str | None = Field(default=None, min_length=1, max_length=100, pattern=r"^[\w.:-]+$")
    region: str | None = Field(default=None, min_length=1, max_length=100)
    max_chunk_bytes: int | None = Field(default=None, ge=1)


class Listed(Protocol):
    """Edges that somebody else lists."""

    async def known(self) -> list[Edge]: ...


class HealthChecks:
    """Asks edges for their health every five seconds; one that was silent for fifteen is not listed.

    Args:
        listed: edges that AgentCache lists, with their ids.
        worker_urls: where Cloudflare Workers serve; each says its id and its region itself.
        clock: in seconds.
    """

    def __init__(
        self,
        listed: Listed,
        worker_urls: Sequence[str],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._listed = listed
        self._clock = clock
        self._workers = [Edge("", "", url, "external") for url in worker_urls]
        self._answered: dict[str, tuple[float, Edge]] = {}
        self._periodic = Periodic(
            "edge-health",
            self.check,
            interval_seconds=_INTERVAL_SECONDS,
            max_backoff_seconds=_INTERVAL_SECONDS,
        )

    def start(self) -> None:
        """Ask in the background."""
        self._periodic.start()

    async def close(self) -> None:
        """Stop asking."""
        await self._periodic.close()

    def healthy(self) -> list[Edge]:
        """The edges that answered lately."""
        since = self._clock() - SILENT_SECONDS
        return [edge for answered_at, edge in self._answered.values() if answered_at > since]

    async def check(self) -> None:
        """Ask all edges once; those that are not listed any more are forgotten."""
        asked = [*self._workers, *await self._listed.known()]
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            found = await asyncio.gather(*(self._ask(http, edge) for edge in asked))
        now = self._clock()
        kept = {edge.url: self._answered[edge.url] for edge in asked if edge.url in self._answered}
        self._answered = kept | {edge.url: (now, edge) for edge in found if edge is not None}

    async def _ask(self, http: aiohttp.ClientSession, edge: Edge) -> Edge | None:
        name = edge.id or urlsplit(edge.url).netloc
        try:
            async with http.get(f"{edge.url}/healthz", allow_redirects=False) as answer:
                health = _Health.model_validate(await read_json(answer, most_bytes=_MOST_BYTES))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, RecursionError) as error:
            _checks.labels(name, "failed").inc()
            if edge.url in self._answered:
                log.warning("edge does not answer", edge=name, error_type=type(error).__name__)
            return None
        _checks.labels(name, "ok").inc()
        return _named(edge, health)


def _named(edge: Edge, health: _Health) -> Edge:
    """The edge with what it says of itself; an id that AgentCache gave it stays."""
    host = urlsplit(edge.url).netloc
    return Edge(
        edge.id or f"cloudflare:{health.id or host}",
        edge.region or health.region or "unknown",
        edge.url,
        edge.kind,
        health.max_chunk_bytes,
    )
