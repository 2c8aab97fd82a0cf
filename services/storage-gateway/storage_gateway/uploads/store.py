"""Uploads and their chunks in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from jettythunder.database import Connection, Database, Queries, Runner
from jettythunder.outbox import Rows
from storage_gateway.assets.model import Asset
from storage_gateway.uploads.model import Kind, Status, StoredChunk, Upload


@dataclass(frozen=True)
class Room:
    """Whether storage was reserved, and the account's counters after that."""

    granted: bool
    used_bytes: int
    reserved_bytes: int
    quota_bytes: int


@dataclass(frozen=True, kw_only=True)
class NewUpload:
    """An upload about to be opened; it expires ``open_seconds`` from now unless somebody works on it."""

    upload_id: UUID
    account_id: UUID
    kind: Kind
    status: Status
    filename: str
    content_type: str
    s3_bucket: str
    s3_key: str
    size_bytes: int | None
    chunk_size_bytes: int
    content_hash: str | None
    cache_key: str | None
    pipeline_id: UUID | None
    asset_expires_at: datetime | None
    correlation_id: str
    reserve_bytes: int
    open_seconds: int


@dataclass(frozen=True, kw_only=True)
class FinishedUpload:
    """What a completed upload has received."""

    upload_id: UUID
    size_bytes: int
    content_hash: str
    content_hash_verified: bool
    content_type: str
    cache_key: str | None
    pipeline_id: UUID | None
    asset_expires_at: datetime | None
    uploaded_via: str
    upload_speed_mbps: Decimal | None


@dataclass(frozen=True)
class ClosedUpload:
    """An upload that was aborted or has expired, and what may be left of it in the object storage."""

    id: UUID
    account_id: UUID
    s3_bucket: str
    s3_key: str
    s3_upload_id: str | None


@dataclass(frozen=True)
class ExpiredUpload:
    """An open upload that has expired."""

    id: UUID
    account_id: UUID
    correlation_id: str


@dataclass(frozen=True)
class LeftoverMultipart:
    """A multipart upload whose upload is closed."""

    id: UUID
    s3_bucket: str
    s3_key: str
    s3_upload_id: str


_queries = Queries("storage_gateway.uploads")
_open_upload = _queries.one("open_upload", Room)
_grow_reservation = _queries.one("grow_reservation", Room)
_set_multipart = _queries.run("set_multipart")
_renew_leases = _queries.all("renew_leases", UUID)
_fetch_upload = _queries.maybe("fetch_upload", Upload)
_list_sessions = _queries.all("list_sessions", Upload)
_fetch_chunk = _queries.maybe("fetch_chunk", StoredChunk)
_fetch_chunks = _queries.all("fetch_chunks", StoredChunk)
_forget_chunks = _queries.run("forget_chunks")
_begin_receiving = _queries.maybe("begin_receiving", bool)
_begin_completing = _queries.maybe("begin_completing", bool)
_reopen = _queries.run("reopen")
_complete_upload = _queries.maybe("complete_upload", Asset)
_close_as_duplicate = _queries.maybe("close_as_duplicate", bool)
_close_upload = _queries.maybe("close_upload", ClosedUpload)
_delete_object_again = _queries.run("delete_object_again")
_find_expired = _queries.all("find_expired", ExpiredUpload)
_count_open_sessions = _queries.one("count_open_sessions", int)
_forget_closed = _queries.one("forget_closed", int)
_claim_leftovers = _queries.all("claim_leftovers", LeftoverMultipart)
_note_multipart_aborted = _queries.run("note_multipart_aborted")


class UploadStore:
    """The uploads table and, for reading, the chunk-workers' chunks.

    Methods without ``on`` are one statement; those with it belong in a caller's transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, upload: NewUpload, events: Rows) -> Room:
        """Reserve storage and open an upload, or neither."""
        return await _open_upload(self._database, **vars(upload), **vars(events))

    async def grow_reservation(
        self, *, account_id: UUID, upload_id: UUID, more_bytes: int, open_seconds: int
    ) -> Room:
        """Reserve more for an open upload."""
        return await _grow_reservation(
            self._database,
            account_id=account_id,
            upload_id=upload_id,
            more_bytes=more_bytes,
            open_seconds=open_seconds,
        )

    async def set_multipart(self, *, upload_id: UUID, s3_upload_id: str) -> None:
        """Note the multipart upload that an upload's chunks go to."""
        await _set_multipart(self._database, upload_id=upload_id, s3_upload_id=s3_upload_id)

    async def renew_leases(self, upload_ids: Sequence[UUID], *, lease_seconds: int) -> list[UUID]:
        """Keep uploads from expiring; which of them are open."""
        return await _renew_leases(self._database, upload_ids=upload_ids, lease_seconds=lease_seconds)

    async def fetch(self, *, account_id: UUID, upload_id: UUID) -> Upload | None:
        """One upload of an account."""
        return await _fetch_upload(self._database, account_id=account_id, upload_id=upload_id)

    async def list_sessions(
        self,
        *,
        account_id: UUID,
        open_only: bool,
        before_created_at: datetime | None,
        before_id: UUID | None,
        page_size: int,
    ) -> list[Upload]:
        """A page of an account's sessions, newest first."""
        return await _list_sessions(
            self._database,
            account_id=account_id,
            open_only=open_only,
            before_created_at=before_created_at,
            before_id=before_id,
            page_size=page_size,
        )

    async def fetch_chunk(self, *, upload_id: UUID, number: int) -> StoredChunk | None:
        """One recorded chunk."""
        return await _fetch_chunk(self._database, upload_id=upload_id, number=number)

    async def fetch_chunks(self, upload_id: UUID) -> list[StoredChunk]:
        """The recorded chunks in order."""
        return await _fetch_chunks(self._database, upload_id=upload_id)

    async def forget_chunks(self, *, upload_id: UUID, numbers: Sequence[int]) -> None:
        """Have chunks stored again."""
        await _forget_chunks(self._database, upload_id=upload_id, numbers=numbers)

    async def begin_receiving(self, *, upload_id: UUID, open_seconds: int) -> bool:
        """Open a session for chunks, or keep it open; False where it takes none."""
        return await _begin_receiving(self._database, upload_id=upload_id, open_seconds=open_seconds) is True

    async def begin_completing(self, *, upload_id: UUID, lease_seconds: int) -> bool:
        """Shut a session for chunks; False where it is closed."""
        return (
            await _begin_completing(self._database, upload_id=upload_id, lease_seconds=lease_seconds) is True
        )

    async def reopen(self, upload_id: UUID) -> None:
        """Let a session that is being completed take chunks again."""
        await _reopen(self._database, upload_id=upload_id)

    async def complete(self, finished: FinishedUpload, events: Rows) -> Asset | None:
        """Close an open upload with a new asset."""
        return await _complete_upload(self._database, **vars(finished), **vars(events))

    async def close_as_duplicate(
        self,
        on: Connection,
        events: Rows,
        *,
        upload_id: UUID,
        asset_id: UUID,
        size_bytes: int,
        content_hash: str,
        cache_key: str | None,
    ) -> bool:
        """Close an open upload with an asset that was there before; False where it is closed."""
        return (
            await _close_as_duplicate(
                on,
                upload_id=upload_id,
                asset_id=asset_id,
                size_bytes=size_bytes,
                content_hash=content_hash,
                cache_key=cache_key,
                **vars(events),
            )
            is True
        )

    async def close(
        self, on: Runner, *, upload_id: UUID, status: Status, failure_code: str
    ) -> ClosedUpload | None:
        """Abort or expire an open upload; None where it was closed."""
        return await _close_upload(on, upload_id=upload_id, status=status, failure_code=failure_code)

    async def delete_object_again(self, upload_id: UUID) -> None:
        """Have the object of an aborted or expired upload deleted anew."""
        await _delete_object_again(self._database, upload_id=upload_id)

    async def find_expired(self, on: Connection, *, batch_size: int) -> list[ExpiredUpload]:
        """Open uploads that have expired, locked."""
        return await _find_expired(on, batch_size=batch_size)

    async def count_open_sessions(self, *, account_id: UUID, most: int) -> int:
        """How many sessions of an account are open, counted up to ``most``."""
        return await _count_open_sessions(self._database, account_id=account_id, most=most)

    async def forget_closed(self, *, keep_days: int, batch_size: int) -> int:
        """Remove uploads that were closed so many days ago; how many they were."""
        return await _forget_closed(self._database, keep_days=keep_days, batch_size=batch_size)

    async def claim_leftovers(self, *, batch_size: int, retry_seconds: int) -> list[LeftoverMultipart]:
        """Multipart uploads of closed uploads that are to be aborted now."""
        return await _claim_leftovers(self._database, batch_size=batch_size, retry_seconds=retry_seconds)

    async def note_multipart_aborted(self, upload_id: UUID, *, late_write_seconds: int) -> None:
        """Note that a closed upload's multipart upload was aborted."""
        await _note_multipart_aborted(
            self._database, upload_id=upload_id, late_write_seconds=late_write_seconds
        )
