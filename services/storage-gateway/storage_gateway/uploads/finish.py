"""How an upload ends: as an asset, as one the account already had, or as nothing.

Guarantee given here: the upload's row, its result and the event that settles or releases its reservation
are changed in one transaction, so an upload ends once, and the ledger hears of it.
"""

from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from jettythunder import outbox, telemetry
from jettythunder.contracts.assets import AssetStoredV1
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1
from jettythunder.database import Pool
from jettythunder.errors import UploadNotOpen
from jettythunder.storage import Storage
from storage_gateway.domain import MEGABYTE, UploadOptions
from storage_gateway.repository import FinishedUpload, Repository, Row
from storage_gateway.service import SOURCE
from storage_gateway.service.objects import ObjectRemover

log = telemetry.logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Received:
    """An upload whose bytes have all arrived."""

    upload_id: UUID
    account_id: UUID
    filename: str
    content_type: str
    s3_key: str
    s3_upload_id: str | None
    size_bytes: int
    content_hash: str
    chunk_count: int
    duration_seconds: float
    uploaded_via: str

    @property
    def speed_mbps(self) -> Decimal | None:
        """Megabits per second from the first byte to the last."""
        if self.size_bytes == 0:
            return None
        megabits = self.size_bytes * 8 / MEGABYTE / max(self.duration_seconds, 1e-6)
        return round(Decimal(min(megabits, 99_999_999)), 2)


@dataclass(frozen=True)
class Result:
    """An asset, and how it came about."""

    asset: Row
    deduplicated: bool
    upload_id: UUID
    cache_key: str | None


class Closer:
    """Ends uploads."""

    def __init__(
        self, *, pool: Pool, repository: Repository, storage: Storage, remover: ObjectRemover
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage
        self._remover = remover

    async def existing(self, received: Received) -> Row | None:
        """The account's asset with the same bytes, where it has one."""
        return await self._repository.find_asset_by_hash(
            self._pool, account_id=received.account_id, content_hash=received.content_hash
        )

    async def complete(self, received: Received, options: UploadOptions) -> Result:
        """Make the stored object an asset; where the same bytes became one meanwhile, answer that one.

        Raises:
            UploadNotOpen: the upload was closed meanwhile.
        """
        finished = FinishedUpload(
            upload_id=received.upload_id,
            size_bytes=received.size_bytes,
            content_hash=received.content_hash,
            content_type=received.content_type,
            cache_key=options.cache_key,
            pipeline_id=options.pipeline_id,
            asset_expires_at=options.expires_at,
            uploaded_via=received.uploaded_via,
            upload_speed_mbps=received.speed_mbps,
        )
        stored = AssetStoredV1(
            account_id=received.account_id,
            asset_id=received.upload_id,
            upload_id=received.upload_id,
            filename=received.filename,
            content_type=received.content_type,
            size_bytes=received.size_bytes,
            content_hash=received.content_hash,
            cache_key=options.cache_key,
            s3_bucket=self._storage.bucket,
            s3_key=received.s3_key,
        )
        completed = _completed(received, asset_id=received.upload_id, deduplicated=False)
        asset = await self._repository.complete_upload(
            self._pool, finished, outbox.rows(completed, stored, source=SOURCE)
        )
        if asset is not None:
            return Result(asset, False, received.upload_id, options.cache_key)
        existing = await self.existing(received)
        if existing is None:
            raise UploadNotOpen
        return await self.complete_duplicate(received, options, existing)

    async def complete_duplicate(self, received: Received, options: UploadOptions, existing: Row) -> Result:
        """Answer the asset the account already has, and drop what was uploaded.

        Raises:
            UploadNotOpen: the upload was closed meanwhile.
        """
        completed = _completed(received, asset_id=existing["id"], deduplicated=True)
        async with self._pool.acquire() as connection, connection.transaction():
            if not await self._repository.complete_duplicate(
                connection,
                upload_id=received.upload_id,
                asset_id=existing["id"],
                size_bytes=received.size_bytes,
                content_hash=received.content_hash,
                cache_key=options.cache_key,
            ):
                raise UploadNotOpen
            await outbox.write(connection, completed, source=SOURCE)
            await self._repository.want_deleted(
                connection, s3_bucket=self._storage.bucket, s3_keys=[received.s3_key]
            )
        await self._drop_bytes(received.upload_id, received.s3_key, received.s3_upload_id)
        return Result(existing, True, received.upload_id, options.cache_key)

    async def abort(self, upload_id: UUID, *, code: str) -> bool:
        """Close an open upload and leave nothing of it in the object storage.

        Returns:
            whether it was open.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            closed = await self._repository.close_upload(
                connection, upload_id=upload_id, status="aborted", failure_code=code
            )
            if closed is None:
                return False
            event = UploadAbortedV1(account_id=closed["account_id"], upload_id=upload_id, code=code)
            await outbox.write(connection, event, source=SOURCE)
            await self._repository.want_deleted(
                connection, s3_bucket=closed["s3_bucket"], s3_keys=[closed["s3_key"]]
            )
        log.info("upload aborted", upload_id=str(upload_id), code=code)
        await self._drop_bytes(upload_id, closed["s3_key"], closed["s3_upload_id"])
        return True

    async def _drop_bytes(self, upload_id: UUID, s3_key: str, s3_upload_id: str | None) -> None:
        if s3_upload_id is not None:
            await self._storage.abort_multipart(s3_key, s3_upload_id)
            await self._repository.forget_multipart(self._pool, upload_id=upload_id)
        await self._remover.remove([s3_key])


def _completed(received: Received, *, asset_id: UUID, deduplicated: bool) -> UploadCompletedV1:
    return UploadCompletedV1(
        account_id=received.account_id,
        upload_id=received.upload_id,
        asset_id=asset_id,
        size_bytes=received.size_bytes,
        stored_bytes=0 if deduplicated else received.size_bytes,
        chunk_count=received.chunk_count,
        deduplicated=deduplicated,
        duration_seconds=received.duration_seconds,
    )
