"""Where chunks can be sent: our own chunk-workers, edges without our database, the object storage itself."""

from dataclasses import asdict
from typing import Any, Protocol

from prometheus_client import Gauge

from storage_gateway.edges.store import Edge, EdgeCount

SILENT_SECONDS = 15

_edges = Gauge(
    "jettythunder_edges", "Edges that are listed, by whether they were heard of within 15 s", ["state"]
)


class Workers(Protocol):
    """Where our own edges are listed."""

    async def live(self, *, silent_seconds: float) -> list[Edge]: ...

    async def count(self, *, silent_seconds: float) -> EdgeCount: ...


class Checked(Protocol):
    """Edges that do not list themselves, and are asked for their health."""

    def healthy(self) -> list[Edge]: ...


class Edges:
    """The edges known now.

    Args:
        direct_url: the object storage's address where clients may send chunks straight to it, else None.
    """

    def __init__(self, workers: Workers, checked: Checked, *, direct_url: str | None, region: str) -> None:
        self._workers = workers
        self._checked = checked
        self._direct = [Edge("lyve", region, direct_url, "direct")] if direct_url else []

    async def known(self) -> list[Edge]:
        """All edges: the least busy workers first, then those without our database, then the storage."""
        workers = await self._workers.live(silent_seconds=SILENT_SECONDS)
        return [*workers, *self._checked.healthy(), *self._direct]

    async def answer(self, *, chunk_bytes: int = 0) -> list[dict[str, Any]]:
        """The edges that take chunks of this size, as clients see them."""
        return [
            asdict(edge)
            for edge in await self.known()
            if edge.max_chunk_bytes is None or edge.max_chunk_bytes >= chunk_bytes
        ]

    async def watch(self) -> None:
        """Count our own edges for the metrics."""
        counted = await self._workers.count(silent_seconds=SILENT_SECONDS)
        for state, count in asdict(counted).items():
            _edges.labels(state).set(count)
