"""Chunks in PostgreSQL: one method per query of queries.sql, on the caller's connection."""

from datetime import datetime
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

    async def note_edge(
        self,
        connection: Runner,
        *,
        edge_id: str,
        region: str,
        url: str,
        in_flight_bytes: int,
        capacity_bytes: int,
        started_at: datetime,
    ) -> None:
        """Say that an edge is there and how busy it is."""
        await self._queries.note_edge(
            connection,
            edge_id=edge_id,
            region=region,
            url=url,
            in_flight_bytes=in_flight_bytes,
            capacity_bytes=capacity_bytes,
            started_at=started_at,
        )

    async def remove_edge(self, connection: Runner, *, edge_id: str, started_at: datetime) -> None:
        """Take an edge off the list."""
        await self._queries.remove_edge(connection, edge_id=edge_id, started_at=started_at)
