"""Assets whose object is gone from the object storage, behind everybody's back.

Such an asset can't be read, is billed for, and stands in the way of its own bytes: an upload of them would be
taken for a duplicate. So it is deleted, and its storage credited.
"""

from uuid import UUID

from jettythunder import outbox, telemetry
from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.database import Pool
from jettythunder.outbox import inbox
from jettythunder.storage import ObjectMissing, Storage
from storage_gateway.messages import STORAGE_GATEWAY_EVENTS
from storage_gateway.repository import Repository, Row
from storage_gateway.service import SOURCE

log = telemetry.logger(__name__)


class LostObjects:
    """Gives up assets that have lost their object."""

    def __init__(self, *, pool: Pool, repository: Repository, storage: Storage) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage

    async def give_up(self, event_id: UUID, *, account_id: UUID, asset_id: UUID) -> None:
        """Delete the asset and credit its storage, if the object storage says again that it has no object.

        An object of another size is left alone, with its asset: its bytes may be worth something to somebody.

        Raises:
            StorageUnavailable: the object storage does not say.
        """
        if await inbox.seen(self._pool, consumer=STORAGE_GATEWAY_EVENTS.name, event_id=event_id):
            return
        asset = await self._repository.fetch_asset(self._pool, account_id=account_id, asset_id=asset_id)
        is_lost = asset is not None and await self._is_lost(asset)
        async with self._pool.acquire() as connection, connection.transaction():
            if not await inbox.first_time(
                connection, consumer=STORAGE_GATEWAY_EVENTS.name, event_id=event_id
            ):
                return
            if not is_lost:
                return
            for gone in await self._repository.delete_assets(
                connection, account_id=account_id, asset_ids=[asset_id]
            ):
                deleted = AssetDeletedV1(
                    account_id=account_id,
                    asset_id=asset_id,
                    size_bytes=gone["size_bytes"],
                    reason="object_missing",
                )
                await outbox.write(connection, deleted, source=SOURCE)
                log.error("asset given up: its object is lost", asset_id=str(asset_id), s3_key=gone["s3_key"])

    async def _is_lost(self, asset: Row) -> bool:
        # Of a bucket that is not there S3 answers a HEAD for an object as if only the object were missing.
        await self._storage.ping()
        try:
            size_bytes = await self._storage.size_of(asset["s3_key"])
        except ObjectMissing:
            return True
        if size_bytes != asset["size_bytes"]:
            log.error("an asset's object has another size", asset_id=str(asset["id"]), found_bytes=size_bytes)
        return False
