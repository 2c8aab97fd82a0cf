"""Opening an upload: its storage is reserved before its first byte is read, or it is not opened.

Guarantee given here: the reservation and the upload are made in one statement, so neither exists without the
other, and used + reserved never passes the quota.
"""

from uuid import UUID

from jettythunder import outbox, telemetry
from jettythunder.contracts.uploads import UploadCreatedV1
from storage_gateway.access.model import Tenant
from storage_gateway.errors import StorageQuotaExceeded
from storage_gateway.messages import SOURCE
from storage_gateway.uploads.model import Kind, Status, UploadOptions
from storage_gateway.uploads.store import NewUpload, Room, UploadStore


class Opener:
    """Opens uploads of every kind."""

    def __init__(self, store: UploadStore, *, bucket: str) -> None:
        self._store = store
        self._bucket = bucket

    async def open(
        self,
        tenant: Tenant,
        *,
        upload_id: UUID,
        kind: Kind,
        filename: str,
        content_type: str,
        s3_key: str,
        size_bytes: int | None,
        reserve_bytes: int,
        chunk_size_bytes: int,
        options: UploadOptions,
        open_seconds: int,
    ) -> None:
        """Reserve the storage and open the upload; it expires ``open_seconds`` after it was worked on last.

        Raises:
            StorageQuotaExceeded: there is no room for ``reserve_bytes``; nothing was opened.
        """
        created = UploadCreatedV1(
            account_id=tenant.account_id,
            upload_id=upload_id,
            kind=kind,
            filename=filename,
            reserved_bytes=reserve_bytes,
        )
        room = await self._store.open(
            NewUpload(
                upload_id=upload_id,
                account_id=tenant.account_id,
                kind=kind,
                status=Status.RECEIVING if kind is Kind.FORM else Status.CREATED,
                filename=filename,
                content_type=content_type,
                s3_bucket=self._bucket,
                s3_key=s3_key,
                size_bytes=size_bytes,
                chunk_size_bytes=chunk_size_bytes,
                content_hash=options.content_hash,
                cache_key=options.cache_key,
                pipeline_id=options.pipeline_id,
                asset_expires_at=options.expires_at,
                correlation_id=telemetry.correlation_id.get() or "",
                reserve_bytes=reserve_bytes,
                open_seconds=open_seconds,
            ),
            outbox.rows(created, source=SOURCE),
        )
        if not room.granted:
            raise quota_exceeded(room, reserve_bytes)


def quota_exceeded(room: Room, wanted_bytes: int) -> StorageQuotaExceeded:
    """The refusal of a reservation, with the figures that explain it."""
    return StorageQuotaExceeded(
        used_bytes=room.used_bytes,
        reserved_bytes=room.reserved_bytes,
        quota_bytes=room.quota_bytes,
        requested_bytes=wanted_bytes,
    )
