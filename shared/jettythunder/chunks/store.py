"""Uploads and their chunks in PostgreSQL."""

from dataclasses import dataclass
from uuid import UUID

from jettythunder import outbox
from jettythunder.checksums import Checksum
from jettythunder.chunks.model import RecordedChunk, Upload
from jettythunder.contracts.uploads import ChunkFailedV1, ChunkUploadedV1
from jettythunder.database import Database, Queries


@dataclass(frozen=True)
class _UploadRow:
    takes_chunks: bool
    keeps_chunks: bool
    epoch: int
    s3_key: str
    s3_upload_id: str | None
    size_bytes: int | None
    checksum: str | None
    etag: str | None
    edge: str | None


_queries = Queries("jettythunder.chunks")
_fetch_upload = _queries.maybe("fetch_upload", _UploadRow)
_record_chunk = _queries.one("record_chunk", bool, publishes=True)


class Store:
    """Reads uploads, and writes the chunks that were stored.

    Args:
        source: the service whose events these are.
    """

    def __init__(self, database: Database, *, source: str) -> None:
        self._database = database
        self._source = source

    async def upload(self, upload_id: UUID, *, account_id: UUID, number: int) -> Upload | None:
        """An account's upload with what is recorded of one of its chunks."""
        row = await _fetch_upload(self._database, upload_id=upload_id, account_id=account_id, number=number)
        if row is None:
            return None
        return Upload(
            takes_chunks=row.takes_chunks,
            keeps_chunks=row.keeps_chunks,
            epoch=row.epoch,
            s3_key=row.s3_key,
            s3_upload_id=row.s3_upload_id,
            recorded=_recorded(row, number),
        )

    async def record(self, event: ChunkUploadedV1, *, epoch: int | None) -> bool:
        """Record a stored chunk together with its event; False where the upload takes no more chunks.

        With an epoch it takes none either where that is not the account's any more.
        """
        rows = outbox.rows(event, source=self._source)
        return await _record_chunk(
            self._database,
            **event.model_dump(exclude={"account_id"}),
            epoch=epoch,
            lane=rows.lanes[0],
            event_id=rows.event_ids[0],
            event=rows.bodies[0],
        )

    async def publish_failure(self, event: ChunkFailedV1) -> None:
        """Have the event published that a chunk failed."""
        await outbox.write(self._database, event, source=self._source)


def _recorded(row: _UploadRow, number: int) -> RecordedChunk | None:
    if row.size_bytes is None or row.checksum is None or row.etag is None or row.edge is None:
        return None
    return RecordedChunk(number, row.size_bytes, Checksum.parse(row.checksum), row.etag, row.edge)
