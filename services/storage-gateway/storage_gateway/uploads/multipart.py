"""Multipart uploads in the object storage: begun so that none is forgotten, and aborted with all their parts.

An upload's row keeps the id of its multipart upload, since Lyve does not list active ones.
"""

import asyncio
from contextlib import suppress
from uuid import UUID

from jettythunder import telemetry
from jettythunder.checksums import Algorithm
from jettythunder.errors import JettyThunderError, StorageUnavailable
from jettythunder.storage import Storage
from storage_gateway.uploads.store import UploadStore

log = telemetry.logger(__name__)

_BATCH_SIZE = 50


class Multipart:
    """Begins and aborts multipart uploads.

    Args:
        late_write_seconds: for how long a part that was under way may still land after an abort. S3 wants the
            abort repeated then: https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html.
        retry_seconds: how long after a failed attempt an abort is tried again.
    """

    def __init__(
        self, store: UploadStore, storage: Storage, *, late_write_seconds: int, retry_seconds: int
    ) -> None:
        self._store = store
        self._storage = storage
        self._late_write_seconds = late_write_seconds
        self._retry_seconds = retry_seconds

    async def begin(
        self, upload_id: UUID, *, s3_key: str, content_type: str, algorithm: Algorithm = Algorithm.MD5
    ) -> str:
        """Begin one for an upload and return its id in the object storage.

        Args:
            algorithm: how the checksums of its parts will be computed.

        Raises:
            StorageUnavailable: the object storage did not begin one.
        """
        begun = await self._storage.create_multipart(s3_key, content_type=content_type, algorithm=algorithm)
        try:
            await self._store.set_multipart(upload_id=upload_id, s3_upload_id=begun)
        except BaseException:
            # Without its id in the row it could not be found again.
            with suppress(StorageUnavailable):
                await asyncio.shield(self._storage.abort_multipart(s3_key, begun))
            raise
        return begun

    async def abort(self, upload_id: UUID, *, s3_bucket: str, s3_key: str, s3_upload_id: str) -> None:
        """Abort the multipart upload of a closed upload.

        Raises:
            StorageUnavailable, DatabaseUnavailable: housekeeping will do it.
        """
        await self._storage.abort_multipart(s3_key, s3_upload_id, bucket=s3_bucket)
        await self._store.note_multipart_aborted(upload_id, late_write_seconds=self._late_write_seconds)

    async def abort_leftovers(self) -> float | None:
        """Abort multipart uploads of closed uploads, where that could not be done at once or is due again."""
        leftovers = await self._store.claim_leftovers(
            batch_size=_BATCH_SIZE, retry_seconds=self._retry_seconds
        )
        for leftover in leftovers:
            try:
                await self.abort(
                    leftover.id,
                    s3_bucket=leftover.s3_bucket,
                    s3_key=leftover.s3_key,
                    s3_upload_id=leftover.s3_upload_id,
                )
            except JettyThunderError as error:
                log.warning("multipart upload not aborted", upload_id=str(leftover.id), code=error.code)
        return 0 if len(leftovers) == _BATCH_SIZE else None
