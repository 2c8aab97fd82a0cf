"""Finding and naming assets. An asset of another account is one that does not exist."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from jettythunder.database import Database
from jettythunder.errors import InvalidField
from storage_gateway import paging
from storage_gateway.assets import names
from storage_gateway.assets.cache_keys import CacheKeys
from storage_gateway.assets.model import Asset, checked_cache_key
from storage_gateway.assets.store import AssetStore
from storage_gateway.errors import AssetNotFound


@dataclass(frozen=True)
class Page:
    """Assets, newest first, and the cursor of the next page where there is one."""

    assets: list[Asset]
    next_cursor: str | None


class Finder:
    """Looks assets up, and changes the names they go by."""

    def __init__(self, database: Database, store: AssetStore, cache_keys: CacheKeys) -> None:
        self._database = database
        self._store = store
        self._cache_keys = cache_keys

    async def find(
        self,
        account_id: UUID,
        *,
        asset_id: UUID | None = None,
        s3_key: str | None = None,
        cache_key: str | None = None,
    ) -> Asset:
        """One asset of the account, by the one thing given.

        Raises:
            InvalidField: none or several were given.
            AssetNotFound: there is none, or it has expired.
        """
        if sum(given is not None for given in (asset_id, s3_key, cache_key)) != 1:
            raise InvalidField("Give one of asset_id, key and cache_key.")
        if asset_id is not None:
            asset = await self._store.fetch(account_id=account_id, asset_id=asset_id)
        elif s3_key is not None:
            asset = await self._store.fetch_by_key(account_id=account_id, s3_key=s3_key)
        else:
            asset = await self._store.fetch_by_cache_key(account_id=account_id, cache_key=cache_key or "")
        if asset is None:
            raise AssetNotFound
        return asset

    async def page(
        self,
        account_id: UUID,
        *,
        prefix: str | None,
        cache_key: str | None,
        pipeline_id: UUID | None,
        cursor: str | None,
        limit: int,
    ) -> Page:
        """One page of the account's assets, newest first."""
        before_created_at, before_id = paging.read_cursor(cursor)
        found = await self._store.page(
            account_id=account_id,
            prefix=None if prefix is None else names.normal_form(prefix),
            cache_key=cache_key,
            pipeline_id=pipeline_id,
            before_created_at=before_created_at,
            before_id=before_id,
            page_size=limit + 1,
        )
        return Page(*paging.cut(found, limit))

    async def keep_known(
        self, account_id: UUID, content_hash: str, *, cache_key: str | None, expires_at: datetime | None
    ) -> Asset | None:
        """The asset that serves uploads of these bytes, under the cache key, until the later expiry.

        Raises:
            TooManyCacheKeys: the asset has as many as it may have.
        """
        async with self._database.transaction() as connection:
            asset = await self._store.keep_duplicate(
                connection, account_id=account_id, content_hash=content_hash, expires_at=expires_at
            )
            if asset is not None and cache_key is not None:
                await self._cache_keys.check(
                    connection, account_id=account_id, asset_id=asset.id, cache_key=cache_key
                )
                await self._store.name(
                    connection, account_id=account_id, asset_id=asset.id, cache_key=cache_key
                )
            return asset

    async def rename(
        self, account_id: UUID, asset_id: UUID, *, filename: str | None, cache_key: str | None
    ) -> Asset:
        """Give an asset another file name, or let another cache key name it.

        Raises:
            AssetNotFound: there is no such asset.
            InvalidField: the cache key has a form that is not allowed.
            TooManyCacheKeys: the asset has as many as it may have.
        """
        checked_key = checked_cache_key(cache_key)
        asset = await self.find(account_id, asset_id=asset_id)
        async with self._database.transaction() as connection:
            if filename is not None:
                renamed = await self._store.rename(
                    connection,
                    account_id=account_id,
                    asset_id=asset_id,
                    filename=names.safe_filename(filename),
                )
                if renamed is None:
                    raise AssetNotFound
                asset = renamed
            if checked_key is not None:
                await self._cache_keys.check(
                    connection, account_id=account_id, asset_id=asset_id, cache_key=checked_key
                )
                await self._store.name(
                    connection, account_id=account_id, asset_id=asset_id, cache_key=checked_key
                )
        return asset
