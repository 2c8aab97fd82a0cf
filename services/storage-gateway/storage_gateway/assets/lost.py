"""Assets whose object is no longer in the object storage.

Such an asset can't be read, is billed for, and keeps its bytes from being stored again, since an upload of
them would be taken for a duplicate. So it is deleted, and its storage credited.
"""

from datetime import datetime
from uuid import UUID

from jettythunder import telemetry
from jettythunder.database import Database
from jettythunder.outbox import inbox
from jettythunder.storage import ObjectMissing, Storage
from storage_gateway.assets.delete import Deleter
from storage_gateway.assets.model import Asset, Reason
from storage_gateway.assets.store import AssetStore
from storage_gateway.messages import STORAGE_GATEWAY_EVENTS

log = telemetry.logger(__name__)


class LostObjects:
    """Deletes assets that have lost their object."""

    def __init__(self, database: Database, store: AssetStore, storage: Storage, deleter: Deleter) -> None:
        self._database = database
        self._store = store
        self._storage = storage
        self._deleter = deleter

    async def check(self, event_id: UUID, *, event_time: datetime, account_id: UUID, asset_id: UUID) -> None:
        """Delete the asset and credit its storage, if the object storage says again that it has no object.

        An object of another size is left alone, with its asset: its bytes may be worth something to somebody.

        Raises:
            StorageUnavailable: the object storage does not say.
            EventTooOld: the event may have been processed before.
        """
        if await inbox.seen(self._database, consumer=STORAGE_GATEWAY_EVENTS.name, event_id=event_id):
            return
        asset = await self._store.fetch(account_id=account_id, asset_id=asset_id)
        is_lost = asset is not None and await self._is_lost(asset)
        async with self._database.transaction() as connection:
            is_first = await inbox.first_time(
                connection, consumer=STORAGE_GATEWAY_EVENTS.name, event_id=event_id, event_time=event_time
            )
            if is_first and is_lost:
                await self._deleter.delete_in(
                    connection, account_id, [asset_id], reason=Reason.OBJECT_MISSING
                )
                log.error("asset deleted: its object is lost", asset_id=str(asset_id))

    async def _is_lost(self, asset: Asset) -> bool:
        # Of a bucket that is not there S3 answers a HEAD for an object as if only the object were missing.
        await self._storage.ping()
        try:
            size_bytes = await self._storage.size_of(asset.s3_key)
        except ObjectMissing:
            return True
        if size_bytes != asset.size_bytes:
            log.error("an asset's object has another size", asset_id=str(asset.id), found_bytes=size_bytes)
        return False
