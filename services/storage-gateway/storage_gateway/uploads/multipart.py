"""Beginning multipart uploads so that none is ever lost from sight."""

import asyncio
from contextlib import suppress
from uuid import UUID

from jettythunder.database import Pool
from jettythunder.errors import StorageUnavailable
from jettythunder.storage import Storage
from storage_gateway.repository import Repository


class Multipart:
    """Begins multipart uploads. The upload's row keeps the id, since Lyve does not list active ones."""

    def __init__(self, *, pool: Pool, repository: Repository, storage: Storage) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage

    async def begin(self, upload_id: UUID, *, s3_key: str, content_type: str) -> str:
        """Begin one for an upload and return its id in the object storage.

        Raises:
            StorageUnavailable: the object storage did not begin one.
        """
        begun = await self._storage.create_multipart(s3_key, content_type=content_type)
        try:
            await self._repository.set_multipart(self._pool, upload_id=upload_id, s3_upload_id=begun)
        except BaseException:
            # Without its id in the row nobody would find it again.
            with suppress(StorageUnavailable):
                await asyncio.shield(self._storage.abort_multipart(s3_key, begun))
            raise
        return begun
