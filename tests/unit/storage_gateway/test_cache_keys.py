"""How many cache keys may name one asset, whichever way they are given."""

import pytest

from storage_gateway.errors import TooManyCacheKeys

from .fakes import ACCOUNT_ID, CACHE_KEYS_PER_ASSET, Gateway, made_asset


async def test_an_asset_has_a_number_of_cache_keys_at_most() -> None:
    gateway = Gateway()
    asset = gateway.state.add_asset(made_asset())
    for number in range(CACHE_KEYS_PER_ASSET):
        await gateway.finder.rename(ACCOUNT_ID, asset.id, filename=None, cache_key=f"k{number}")
    with pytest.raises(TooManyCacheKeys):
        await gateway.finder.rename(ACCOUNT_ID, asset.id, filename=None, cache_key="one more")
    with pytest.raises(TooManyCacheKeys):
        await gateway.finder.keep_known(ACCOUNT_ID, asset.content_hash, cache_key="one more", expires_at=None)


async def test_a_key_that_names_the_asset_already_is_no_further_one() -> None:
    gateway = Gateway()
    asset = gateway.state.add_asset(made_asset())
    for _ in range(2):
        for number in range(CACHE_KEYS_PER_ASSET):
            await gateway.finder.rename(ACCOUNT_ID, asset.id, filename=None, cache_key=f"k{number}")


async def test_a_key_that_moves_to_another_asset_makes_room() -> None:
    gateway = Gateway()
    asset = gateway.state.add_asset(made_asset())
    other = gateway.state.add_asset(made_asset(content_hash="0" * 64))
    for number in range(CACHE_KEYS_PER_ASSET):
        await gateway.finder.rename(ACCOUNT_ID, asset.id, filename=None, cache_key=f"k{number}")
    await gateway.finder.rename(ACCOUNT_ID, other.id, filename=None, cache_key="k0")
    await gateway.finder.rename(ACCOUNT_ID, asset.id, filename=None, cache_key="one more")
