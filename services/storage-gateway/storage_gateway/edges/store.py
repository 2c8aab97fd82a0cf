"""Edges in PostgreSQL: the chunk-workers' table, read only, and the chunks on the way over Workers."""

from dataclasses import dataclass
from uuid import UUID

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
_begin_chunk = _queries.one("begin_chunk", bool)
_end_chunk = _queries.run("end_chunk")
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


class ChunksUnderWay:
    """The chunks on the way over Workers, across all gateways together.

    Args:
        per_account: how many one account may have.
    """

    def __init__(self, database: Database, *, per_account: int) -> None:
        self._database = database
        self._per_account = per_account

    async def begin(self, account_id: UUID, upload_id: UUID, number: int, *, seconds: float) -> bool:
        """Note a chunk for ``seconds`` at most; False where the account has as many as it may have."""
        return await _begin_chunk(
            self._database,
            account_id=account_id,
            upload_id=upload_id,
            number=number,
            most=self._per_account,
            seconds=seconds,
        )

    async def end(self, account_id: UUID, upload_id: UUID, number: int) -> None:
        """Note that a chunk was stored, or failed."""
        await _end_chunk(self._database, account_id=account_id, upload_id=upload_id, number=number)
