"""Where chunks can be sent: our own chunk-workers, AgentCache's edges, and the object storage itself."""

from dataclasses import asdict
from typing import Protocol

from storage_gateway.edges.external import ExternalEdges
from storage_gateway.edges.store import Edge

_SILENT_SECONDS = 15


class Workers(Protocol):
    """Where our own edges are listed."""

    async def live(self, *, silent_seconds: float) -> list[Edge]: ...


class Edges:
    """The edges known now.

    Args:
        direct_url: the object storage's address where clients may send chunks straight to it, else None.
    """

    def __init__(
        self, workers: Workers, external: ExternalEdges, *, direct_url: str | None, region: str
    ) -> None:
        self._workers = workers
        self._external = external
        self._direct = [Edge("lyve", region, direct_url, "direct")] if direct_url else []

    async def known(self) -> list[Edge]:
        """All edges: the least busy workers first, then AgentCache's, then the object storage."""
        workers = await self._workers.live(silent_seconds=_SILENT_SECONDS)
        return [*workers, *await self._external.known(), *self._direct]

    async def answer(self) -> list[dict[str, str]]:
        """All edges as clients see them."""
        return [asdict(edge) for edge in await self.known()]
