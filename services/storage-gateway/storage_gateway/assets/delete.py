"""Deleting assets, whoever asks and why, and then the bytes of their objects.

Guarantee given here: an asset's row, the event that credits its storage and the note that its object must go
are one transaction; the object is deleted after it, at once or by housekeeping, and once more later: the
object storage may acknowledge a deletion that it leaves half done, or still finish a write of the object.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from uuid import UUID

from jettythunder import outbox, telemetry
from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.database import Connection, Database
from jettythunder.errors import JettyThunderError
from jettythunder.storage import Storage
from storage_gateway.assets.model import DeletedAsset, Reason
from storage_gateway.assets.store import AssetStore, UnwantedObject
from storage_gateway.messages import SOURCE

log = telemetry.logger(__name__)

_BATCH_SIZE = 50
_AT_ONCE = 8
# A caller waits for the deletion of so many objects; the rest of a bulk deletion is left to housekeeping.
_WAITED_FOR = 16


class Deleter:
    """Deletes assets and objects.

    Args:
        late_write_seconds: for how long a write that was under way may still land after the deletion.
        retry_seconds: how long after a failed attempt an object's deletion is tried again.
    """

    def __init__(
        self,
        database: Database,
        store: AssetStore,
        storage: Storage,
        *,
        late_write_seconds: int,
        retry_seconds: int,
    ) -> None:
        self._database = database
        self._store = store
        self._storage = storage
        self._late_write_seconds = late_write_seconds
        self._retry_seconds = retry_seconds

    async def delete(self, account_id: UUID, asset_ids: Sequence[UUID], *, reason: Reason) -> list[UUID]:
        """Delete assets of an account and credit their storage; returns those that were there."""
        async with self._database.transaction() as connection:
            gone = await self.delete_in(connection, account_id, asset_ids, reason=reason)
        log.info("assets deleted", account_id=str(account_id), count=len(gone), reason=reason)
        await self.remove([UnwantedObject(asset.s3_bucket, asset.s3_key) for asset in gone[:_WAITED_FOR]])
        return [asset.id for asset in gone]

    async def delete_in(
        self, connection: Connection, account_id: UUID, asset_ids: Sequence[UUID], *, reason: Reason
    ) -> list[DeletedAsset]:
        """The same in the caller's transaction; the objects are left to housekeeping."""
        gone = await self._store.delete(connection, account_id=account_id, asset_ids=asset_ids)
        events = [
            AssetDeletedV1(
                account_id=account_id, asset_id=asset.id, size_bytes=asset.size_bytes, reason=reason
            )
            for asset in gone
        ]
        if events:
            await outbox.write(connection, *events, source=SOURCE)
        return gone

    async def expire(self) -> float | None:
        """Delete assets that have expired."""
        async with self._database.transaction() as connection:
            expired = await self._store.find_expired(connection, batch_size=_BATCH_SIZE)
            ordered = sorted(expired, key=lambda asset: asset.account_id)
            for account_id, assets in groupby(ordered, key=lambda asset: asset.account_id):
                await self.delete_in(
                    connection, account_id, [asset.id for asset in assets], reason=Reason.EXPIRED
                )
        return 0 if len(expired) == _BATCH_SIZE else None

    async def delete_objects(self) -> float | None:
        """Delete the objects whose rows are gone, and multipart uploads of their keys that no row names.

        There is one where a gateway was killed after it had begun it and before it had noted its id.
        """
        claimed = await self._store.claim_deletions(batch_size=_BATCH_SIZE, retry_seconds=self._retry_seconds)
        await self._remove(claimed, self._remove_object_and_multiparts)
        return 0 if len(claimed) == _BATCH_SIZE else None

    async def remove(self, unwanted: Sequence[UnwantedObject]) -> None:
        """Delete objects, and note that it is done; what fails is left to housekeeping."""
        await self._remove(unwanted, self._remove_object)

    async def _remove(
        self, unwanted: Sequence[UnwantedObject], remove: Callable[[UnwantedObject], Awaitable[None]]
    ) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def remove_one(one: UnwantedObject) -> None:
            async with slots:
                try:
                    await remove(one)
                    await self._store.note_deleted(one, late_write_seconds=self._late_write_seconds)
                except JettyThunderError as error:
                    log.warning("object not deleted", s3_key=one.s3_key, code=error.code)

        await asyncio.gather(*map(remove_one, unwanted))

    async def _remove_object_and_multiparts(self, unwanted: UnwantedObject) -> None:
        await self._storage.abort_multiparts(unwanted.s3_key, bucket=unwanted.s3_bucket)
        await self._remove_object(unwanted)

    async def _remove_object(self, unwanted: UnwantedObject) -> None:
        await self._storage.delete(unwanted.s3_key, bucket=unwanted.s3_bucket)
