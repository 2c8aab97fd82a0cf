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


@dataclass(frozen=True)
class EdgeCount:
    """How many edges are listed: those that say that they take chunks, and those that stopped saying so."""

    live: int
    silent: int


_queries = Queries("storage_gateway.edges")
_live_edges = _queries.all("live_edges", Edge)
_count_edges = _queries.one("count_edges", EdgeCount)


class EdgeStore:
    """Which edges there are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def live(self, *, silent_seconds: float) -> list[Edge]:
        """Edges heard of within ``silent_seconds``, the least busy first."""
        return await _live_edges(self._database, silent_seconds=silent_seconds)

    async def count(self, *, silent_seconds: float) -> EdgeCount:
        """How many edges are listed, and how many of them were not heard of within ``silent_seconds``."""
        return await _count_edges(self._database, silent_seconds=silent_seconds)
