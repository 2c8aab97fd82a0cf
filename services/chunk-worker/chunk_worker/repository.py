"""Chunks in PostgreSQL: one method per query of queries.sql, on the caller's connection."""

from uuid import UUID

from chunk_worker.domain import Progress, RecordedChunk
from jettythunder.database import Runner, queries
from jettythunder.outbox import Rows


class Repository:
    """Reads uploads, and writes what chunk-workers own."""

    def __init__(self) -> None:
        self._queries = queries("chunk_worker")

    async def fetch_progress(
        self, connection: Runner, *, upload_id: UUID, account_id: UUID, number: int
    ) -> Progress | None:
        """An account's upload with what is recorded of one chunk."""
        row = await self._queries.fetch_progress(
            connection, upload_id=upload_id, account_id=account_id, number=number
        )
        if row is None:
            return None
        status, *columns = row
        return Progress(status, None if row["number"] is None else RecordedChunk(*columns))

    async def record_chunk(
        self, connection: Runner, *, upload_id: UUID, chunk: RecordedChunk, events: Rows
    ) -> bool:
        """Record a stored chunk together with its events; False where the upload is not open any more."""
        return bool(
            await self._queries.record_chunk(connection, upload_id=upload_id, **vars(chunk), **vars(events))
        )
