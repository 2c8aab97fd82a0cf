"""Removing the bytes of what was deleted."""

from collections.abc import Sequence
from contextlib import suppress

from jettythunder.database import CONNECTION_ERRORS, Pool
from jettythunder.errors import StorageUnavailable
from jettythunder.storage import Storage
from storage_gateway.repository import Repository


class ObjectRemover:
    """Works off object_deletions: at once where it can, else housekeeping does it later."""

    def __init__(self, *, pool: Pool, repository: Repository, storage: Storage) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage

    async def remove(self, s3_keys: Sequence[str]) -> None:
        """Remove objects noted in object_deletions; what fails stays noted."""
        gone: list[str] = []
        with suppress(StorageUnavailable, *CONNECTION_ERRORS):
            for s3_key in s3_keys:
                await self._storage.delete(s3_key)
                gone.append(s3_key)
        if gone:
            with suppress(*CONNECTION_ERRORS):
                await self._repository.deleted_objects(
                    self._pool, s3_bucket=self._storage.bucket, s3_keys=gone
                )
