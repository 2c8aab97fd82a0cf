"""Edges in PostgreSQL: the chunk-workers' table, read only."""

from dataclasses import dataclass

from jettythunder.database import Database, Queries


@dataclass(frozen=True)
class Edge:
    """A place that takes chunks. ``kind`` is worker, external or direct (the object storage itself).

    ``max_chunk_bytes`` is the largest chunk that it takes, None for any.
    """

    id: str
    region: str
    url: str
    kind: str
    max_chunk_bytes: int | None = None


_live_edges = Queries("storage_gateway.edges").all("live_edges", Edge)


class EdgeStore:
    """Which edges there are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def live(self, *, silent_seconds: float) -> list[Edge]:
        """Edges heard of within ``silent_seconds``, the least busy first."""
        return await _live_edges(self._database, silent_seconds=silent_seconds)
