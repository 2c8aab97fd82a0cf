"""How an upload ends: as a new asset, as one that the account had already, or without one.

Guarantee given here: the upload's row, its result and the event that settles or releases its reservation
are changed in one transaction, so an upload ends once, and the ledger learns of it.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

from prometheus_client import Counter

from jettythunder import outbox, telemetry
from jettythunder.contracts.assets import AssetStoredV1
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1
from jettythunder.database import Connection, Database
from jettythunder.errors import DatabaseConflict, JettyThunderError, UploadNotOpen
from storage_gateway.assets.cache_keys import CacheKeys
from storage_gateway.assets.delete import Deleter
from storage_gateway.assets.model import Asset, Reason
from storage_gateway.assets.store import AssetStore, UnwantedObject
from storage_gateway.assets.verify import Verifier
from storage_gateway.messages import SOURCE
from storage_gateway.uploads.model import Received, Result, Status, Upload, UploadOptions
from storage_gateway.uploads.multipart import Multipart
from storage_gateway.uploads.store import ClosedUpload, FinishedUpload, UploadStore

log = telemetry.logger(__name__)

_BATCH_SIZE = 50
# Each further attempt means that another upload of the same bytes, or a deletion, came in between.
_ATTEMPTS = 5

_uploads = Counter("jettythunder_uploads_total", "Uploads by how they ended", ["ending"])
_stored, _deduplicated, _aborted, _expired = (
    _uploads.labels(ending) for ending in ("stored", "deduplicated", "aborted", "expired")
)
_stored_bytes = Counter("jettythunder_stored_bytes_total", "Bytes of new assets")

StoreBytes = Callable[[], Awaitable[None]]


class Finisher:
    """Ends uploads of every kind."""

    def __init__(
        self,
        database: Database,
        uploads: UploadStore,
        assets: AssetStore,
        cache_keys: CacheKeys,
        *,
        deleter: Deleter,
        verifier: Verifier,
        multipart: Multipart,
    ) -> None:
        self._database = database
        self._uploads = uploads
        self._assets = assets
        self._cache_keys = cache_keys
        self._deleter = deleter
        self._verifier = verifier
        self._multipart = multipart

    async def complete(self, received: Received, options: UploadOptions, store_bytes: StoreBytes) -> Result:
        """Make an asset of an upload, or answer with the one the account has already.

        Args:
            store_bytes: makes the object; called once, and only where the account does not have these bytes.

        Raises:
            UploadNotOpen: the upload was closed meanwhile, and not by its own completion.
            TooManyCacheKeys: the account has the bytes, under as many cache keys as there may be.
        """
        is_stored = False
        for _ in range(_ATTEMPTS):
            if received.hash_verified and (result := await self._complete_as_duplicate(received, options)):
                return result
            if not is_stored:
                await store_bytes()
                is_stored = True
            if asset := await self._complete_as_new(received, options):
                _stored.inc()
                _stored_bytes.inc(received.size_bytes)
                return Result(asset, False, received.upload_id, options.cache_key)
            if result := await self._completed_meanwhile(received):
                return result
            await self._remove_expired_duplicate(received)
        raise DatabaseConflict

    async def completed(self, upload: Upload) -> Result:
        """What a completed upload came to.

        Raises:
            UploadNotOpen: its asset was deleted since.
        """
        asset = None
        if upload.asset_id is not None:
            asset = await self._assets.fetch(account_id=upload.account_id, asset_id=upload.asset_id)
        if asset is None:
            raise UploadNotOpen("The upload was completed, and its asset is gone since.")
        return Result(asset, asset.id != upload.id, upload.id, upload.cache_key)

    async def abort(self, upload_id: UUID, *, code: str) -> bool:
        """Close an open upload and leave nothing of it in the object storage.

        Returns:
            whether it was open.
        """
        async with self._database.transaction() as connection:
            closed = await self._close(connection, upload_id, Status.ABORTED, code)
        if closed is None:
            await self.discard(upload_id)
            return False
        _aborted.inc()
        log.info("upload aborted", upload_id=str(upload_id), code=code)
        # What can't be removed now is left to housekeeping.
        with suppress(JettyThunderError):
            await self._remove_leftovers(closed)
        return True

    async def discard(self, upload_id: UUID) -> None:
        """Have the object deleted again that was made for an upload after somebody had closed it."""
        await self._uploads.delete_object_again(upload_id)

    async def expire(self) -> float | None:
        """Close open uploads that have expired; housekeeping removes what is left of them."""
        async with self._database.transaction() as connection:
            expired = await self._uploads.find_expired(connection, batch_size=_BATCH_SIZE)
            for upload in expired:
                with telemetry.correlated(upload.correlation_id):
                    await self._close(connection, upload.id, Status.EXPIRED, "expired")
                    log.info("upload expired", upload_id=str(upload.id))
        _expired.inc(len(expired))
        return 0 if len(expired) == _BATCH_SIZE else None

    async def _close(
        self, connection: Connection, upload_id: UUID, status: Status, code: str
    ) -> ClosedUpload | None:
        closed = await self._uploads.close(connection, upload_id=upload_id, status=status, failure_code=code)
        if closed is not None:
            event = UploadAbortedV1(account_id=closed.account_id, upload_id=upload_id, code=code)
            await outbox.write(connection, event, source=SOURCE)
        return closed

    async def _remove_leftovers(self, closed: ClosedUpload) -> None:
        if closed.s3_upload_id is not None:
            await self._multipart.abort(
                closed.id,
                s3_bucket=closed.s3_bucket,
                s3_key=closed.s3_key,
                s3_upload_id=closed.s3_upload_id,
            )
        await self._deleter.remove([UnwantedObject(closed.s3_bucket, closed.s3_key)])

    async def _complete_as_new(self, received: Received, options: UploadOptions) -> Asset | None:
        stored = AssetStoredV1(
            account_id=received.account_id,
            asset_id=received.upload_id,
            upload_id=received.upload_id,
            filename=received.filename,
            content_type=received.content_type,
            size_bytes=received.size_bytes,
            content_hash=received.content_hash,
            cache_key=options.cache_key,
            s3_bucket=received.s3_bucket,
            s3_key=received.s3_key,
        )
        completed = _completed(received, asset_id=received.upload_id, deduplicated=False)
        return await self._uploads.complete(
            FinishedUpload(
                upload_id=received.upload_id,
                size_bytes=received.size_bytes,
                content_hash=received.content_hash,
                content_hash_verified=received.hash_verified,
                content_type=received.content_type,
                cache_key=options.cache_key,
                pipeline_id=options.pipeline_id,
                asset_expires_at=options.expires_at,
                uploaded_via=received.uploaded_via,
                upload_speed_mbps=received.speed_mbps,
            ),
            outbox.rows(completed, stored, source=SOURCE),
        )

    async def _complete_as_duplicate(self, received: Received, options: UploadOptions) -> Result | None:
        # The look without a lock spares most uploads the transaction.
        if not await self._verifier.is_known(received.account_id, received.content_hash):
            return None
        async with self._database.transaction() as connection:
            asset = await self._assets.keep_duplicate(
                connection,
                account_id=received.account_id,
                content_hash=received.content_hash,
                expires_at=options.expires_at,
            )
            if asset is None:
                return None
            if options.cache_key is not None:
                await self._cache_keys.check(
                    connection,
                    account_id=received.account_id,
                    asset_id=asset.id,
                    cache_key=options.cache_key,
                )
            was_open = await self._uploads.close_as_duplicate(
                connection,
                outbox.rows(_completed(received, asset_id=asset.id, deduplicated=True), source=SOURCE),
                upload_id=received.upload_id,
                asset_id=asset.id,
                size_bytes=received.size_bytes,
                content_hash=received.content_hash,
                cache_key=options.cache_key,
            )
        if not was_open:
            return await self._completed_meanwhile(received)
        _deduplicated.inc()
        with suppress(JettyThunderError):
            await self._drop_bytes(received)
        return Result(asset, True, received.upload_id, options.cache_key)

    async def _drop_bytes(self, received: Received) -> None:
        if received.s3_upload_id is not None:
            await self._multipart.abort(
                received.upload_id,
                s3_bucket=received.s3_bucket,
                s3_key=received.s3_key,
                s3_upload_id=received.s3_upload_id,
            )
        await self._deleter.remove([UnwantedObject(received.s3_bucket, received.s3_key)])

    async def _completed_meanwhile(self, received: Received) -> Result | None:
        """What another completion of the same upload made of it; None where the upload is open."""
        upload = await self._uploads.fetch(account_id=received.account_id, upload_id=received.upload_id)
        if upload is not None and upload.status.is_open:
            return None
        if upload is None or upload.status is not Status.COMPLETED:
            raise UploadNotOpen
        return await self.completed(upload)

    async def _remove_expired_duplicate(self, received: Received) -> None:
        """Delete an asset with the same bytes that has expired and that housekeeping has not reached yet."""
        async with self._database.transaction() as connection:
            asset_id = await self._assets.find_expired_duplicate(
                connection, account_id=received.account_id, content_hash=received.content_hash
            )
            if asset_id is not None:
                await self._deleter.delete_in(
                    connection, received.account_id, [asset_id], reason=Reason.EXPIRED
                )


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
