"""How many cache keys may name one asset: each is a row that nothing but its account pays for."""

from typing import Protocol
from uuid import UUID

from jettythunder.database import Runner
from storage_gateway.errors import TooManyCacheKeys


class NamedAssets(Protocol):
    """Where cache keys are kept."""

    async def takes_cache_key(
        self, on: Runner, *, account_id: UUID, asset_id: UUID, cache_key: str, most: int
    ) -> bool: ...


class CacheKeys:
    """The limit of cache keys for each asset.

    Args:
        per_asset: how many keys may name one asset. Calls at the same time may pass it by their number.
    """

    def __init__(self, assets: NamedAssets, *, per_asset: int) -> None:
        self._assets = assets
        self._per_asset = per_asset

    async def check(self, on: Runner, *, account_id: UUID, asset_id: UUID, cache_key: str) -> None:
        """Make sure that a key may name an asset.

        Raises:
            TooManyCacheKeys: the asset has as many keys as it may have, and this is none of them.
        """
        if not await self._assets.takes_cache_key(
            on, account_id=account_id, asset_id=asset_id, cache_key=cache_key, most=self._per_asset
        ):
            raise TooManyCacheKeys(limit=self._per_asset)
