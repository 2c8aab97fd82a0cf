"""Assets, the keys they go by, and the deletion of objects, in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from jettythunder.database import Connection, Database, Queries, Runner
from jettythunder.outbox import Rows
from storage_gateway.assets.model import Asset, DeletedAsset


@dataclass(frozen=True)
class Room:
    """Whether bandwidth was reserved, and the account's counters after that."""

    granted: bool
    used_bytes: int
    reserved_bytes: int
    quota_bytes: int


@dataclass(frozen=True)
class ExpiredAsset:
    """An asset that has expired."""

    id: UUID
    account_id: UUID


@dataclass(frozen=True)
class UnwantedObject:
    """An object that is to be deleted."""

    s3_bucket: str
    s3_key: str


_queries = Queries("storage_gateway.assets")
_fetch_asset = _queries.maybe("fetch_asset", Asset)
_fetch_asset_by_key = _queries.maybe("fetch_asset_by_key", Asset)
_fetch_asset_by_cache_key = _queries.maybe("fetch_asset_by_cache_key", Asset)
_list_assets = _queries.all("list_assets", Asset)
_find_known = _queries.maybe("find_known", Asset)
_keep_duplicate = _queries.maybe("keep_duplicate", Asset)
_reserve_bandwidth = _queries.one("reserve_bandwidth", Room)
_keep_bandwidth = _queries.run("keep_bandwidth")
_delete_assets = _queries.all("delete_assets", DeletedAsset)
_find_expired = _queries.all("find_expired", ExpiredAsset)
_find_expired_duplicate = _queries.maybe("find_expired_duplicate", UUID)
_rename_asset = _queries.maybe("rename_asset", Asset)
_takes_cache_key = _queries.one("takes_cache_key", bool)
_name_asset = _queries.run("name_asset")
_claim_deletions = _queries.all("claim_deletions", UnwantedObject)
_note_deleted = _queries.run("note_deleted")
_note_verified = _queries.maybe("note_verified", Asset)
_find_unverified = _queries.all("find_unverified", Asset)


class AssetStore:
    """The assets of all accounts; every look at one names the account that asks.

    Methods without ``on`` are one statement; those with it belong in a caller's transaction.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch(self, *, account_id: UUID, asset_id: UUID) -> Asset | None:
        """A live asset by its id."""
        return await _fetch_asset(self._database, account_id=account_id, asset_id=asset_id)

    async def fetch_by_key(self, *, account_id: UUID, s3_key: str) -> Asset | None:
        """A live asset by its object's key."""
        return await _fetch_asset_by_key(self._database, account_id=account_id, s3_key=s3_key)

    async def fetch_by_cache_key(self, *, account_id: UUID, cache_key: str) -> Asset | None:
        """A live asset by a cache key."""
        return await _fetch_asset_by_cache_key(self._database, account_id=account_id, cache_key=cache_key)

    async def page(
        self,
        *,
        account_id: UUID,
        prefix: str | None,
        cache_key: str | None,
        pipeline_id: UUID | None,
        before_created_at: datetime | None,
        before_id: UUID | None,
        page_size: int,
    ) -> list[Asset]:
        """A page of live assets, newest first."""
        return await _list_assets(
            self._database,
            account_id=account_id,
            prefix=prefix,
            cache_key=cache_key,
            pipeline_id=pipeline_id,
            before_created_at=before_created_at,
            before_id=before_id,
            page_size=page_size,
        )

    async def find_known(self, *, account_id: UUID, content_hash: str) -> Asset | None:
        """The live asset that serves uploads of these bytes, or else one that is claimed to have them."""
        return await _find_known(self._database, account_id=account_id, content_hash=content_hash)

    async def keep_duplicate(
        self, on: Runner, *, account_id: UUID, content_hash: str, expires_at: datetime | None
    ) -> Asset | None:
        """The live asset that serves uploads of these bytes, locked, kept until the later of two expiries."""
        return await _keep_duplicate(
            on, account_id=account_id, content_hash=content_hash, expires_at=expires_at
        )

    async def reserve_bandwidth(
        self,
        events: Rows,
        *,
        account_id: UUID,
        asset_id: UUID,
        reservation_id: UUID,
        size_bytes: int,
        hold_seconds: int,
    ) -> Room:
        """Hold bandwidth for a read, and count the hit where it was granted."""
        return await _reserve_bandwidth(
            self._database,
            account_id=account_id,
            asset_id=asset_id,
            reservation_id=reservation_id,
            size_bytes=size_bytes,
            hold_seconds=hold_seconds,
            **vars(events),
        )

    async def keep_bandwidth(self, reservation_ids: Sequence[UUID], *, hold_seconds: int) -> None:
        """Keep bandwidth that is being used from expiring."""
        await _keep_bandwidth(self._database, reservation_ids=reservation_ids, hold_seconds=hold_seconds)

    async def delete(
        self, on: Connection, *, account_id: UUID, asset_ids: Sequence[UUID]
    ) -> list[DeletedAsset]:
        """Delete assets of an account; those that were there."""
        return await _delete_assets(on, account_id=account_id, asset_ids=asset_ids)

    async def find_expired(self, on: Connection, *, batch_size: int) -> list[ExpiredAsset]:
        """Assets that have expired, locked."""
        return await _find_expired(on, batch_size=batch_size)

    async def find_expired_duplicate(
        self, on: Connection, *, account_id: UUID, content_hash: str
    ) -> UUID | None:
        """An expired asset that still serves uploads of these bytes, locked."""
        return await _find_expired_duplicate(on, account_id=account_id, content_hash=content_hash)

    async def rename(
        self, on: Connection, *, account_id: UUID, asset_id: UUID, filename: str
    ) -> Asset | None:
        """Give an asset another file name."""
        return await _rename_asset(on, account_id=account_id, asset_id=asset_id, filename=filename)

    async def takes_cache_key(
        self, on: Runner, *, account_id: UUID, asset_id: UUID, cache_key: str, most: int
    ) -> bool:
        """Whether a cache key may name an asset that may have ``most`` of them."""
        return await _takes_cache_key(
            on, account_id=account_id, asset_id=asset_id, cache_key=cache_key, most=most
        )

    async def name(self, on: Runner, *, account_id: UUID, asset_id: UUID, cache_key: str) -> None:
        """Let a cache key name an asset."""
        await _name_asset(on, account_id=account_id, asset_id=asset_id, cache_key=cache_key)

    async def claim_deletions(self, *, batch_size: int, retry_seconds: int) -> list[UnwantedObject]:
        """Objects to delete now, claimed until ``retry_seconds`` from now."""
        return await _claim_deletions(self._database, batch_size=batch_size, retry_seconds=retry_seconds)

    async def note_deleted(self, unwanted: UnwantedObject, *, late_write_seconds: int) -> None:
        """Note that an object was deleted, and is once more ``late_write_seconds`` after it was asked for."""
        await _note_deleted(self._database, **vars(unwanted), late_write_seconds=late_write_seconds)

    async def note_verified(self, *, account_id: UUID, asset_id: UUID, content_hash: str) -> Asset | None:
        """Note a hash that was computed from the asset's bytes."""
        return await _note_verified(
            self._database, account_id=account_id, asset_id=asset_id, content_hash=content_hash
        )

    async def find_unverified(self, *, batch_size: int, account_id: UUID | None = None) -> list[Asset]:
        """Assets whose hash is only claimed."""
        return await _find_unverified(self._database, batch_size=batch_size, account_id=account_id)
