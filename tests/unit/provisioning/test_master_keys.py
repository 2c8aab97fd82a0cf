"""The ring of master keys: what the start refuses, and moving accounts to the newest key."""

import pytest

from jettythunder.contracts.accounts import AccountCredentialsRotatedV1
from jettythunder.errors import ConfigurationError
from provisioning.accounts.credentials import MasterKeys
from provisioning.accounts.master_keys import MoveAccounts, Moved, check_master_keys
from provisioning.accounts.rotate import RotateCredentials

from .fakes import MASTER_KEYS, NEW_RING, FakeStore, delivery, made_account

OTHER = "a third master key of thirty-two characters."


def filled_store() -> FakeStore:
    return FakeStore(*(made_account(f"user-{n}", tier="pro") for n in range(5)))


def ids_in_use(store: FakeStore) -> list[str]:
    return [account.master_key_id for account in store.state.accounts.values()]


def ring(**keys: str) -> MasterKeys:
    return MasterKeys({name.removeprefix("key_"): key for name, key in keys.items()}, environment="test")


async def test_a_start_takes_the_ring_that_the_accounts_need() -> None:
    store = filled_store()
    await check_master_keys(store, MASTER_KEYS)
    await check_master_keys(store, NEW_RING)


async def test_a_wrong_key_under_a_known_id_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="The master key with the id 1 is not the key"):
        await check_master_keys(filled_store(), ring(key_1=OTHER))


async def test_a_key_is_known_from_its_first_start_on() -> None:
    store = FakeStore()
    await check_master_keys(store, NEW_RING)
    with pytest.raises(ConfigurationError, match="The master key with the id 2 is not the key"):
        await check_master_keys(store, ring(key_2=OTHER))


async def test_the_keys_that_are_still_needed_are_named() -> None:
    store = filled_store()
    await MoveAccounts(store, NEW_RING)(limit=2, grace_seconds=60)
    with pytest.raises(ConfigurationError, match="those with the ids 1, 2:"):
        await check_master_keys(store, ring(key_3=OTHER))


async def test_a_wrong_key_is_not_learned() -> None:
    store = filled_store()
    with pytest.raises(ConfigurationError):
        await check_master_keys(store, ring(key_1=OTHER))
    await check_master_keys(store, MASTER_KEYS)


async def test_accounts_are_moved_page_by_page_and_once() -> None:
    store = filled_store()
    move = MoveAccounts(store, NEW_RING)
    assert await move(limit=3, grace_seconds=60) == Moved(moved=3, is_last=False)
    assert sorted(ids_in_use(store)) == ["1", "1", "2", "2", "2"]
    assert await move(limit=3, grace_seconds=60) == Moved(moved=2, is_last=True)
    assert await move(limit=3, grace_seconds=60) == Moved(moved=0, is_last=True)
    assert store.state.events == [
        AccountCredentialsRotatedV1(account_id=account.id, credential_version=2)
        for account in store.state.accounts.values()
    ]


async def test_an_account_that_was_moved_has_a_pair_of_the_newest_key() -> None:
    store = FakeStore(account := made_account("user", tier="pro"))
    await MoveAccounts(store, NEW_RING)(limit=1, grace_seconds=60)
    (moved,) = store.state.accounts.values()
    pair = NEW_RING.credentials_of(moved)
    assert (pair.master_key_id, pair.api_key) == ("2", NEW_RING.derive(account.id, version=2).api_key)


async def test_a_rotation_moves_its_account_as_well() -> None:
    store = FakeStore(made_account("user", tier="pro"))
    await RotateCredentials(store, NEW_RING)(delivery(), user_ref="user", grace_seconds=60)
    assert ids_in_use(store) == ["2"]


async def test_a_pair_in_its_grace_time_is_not_cut_short_unless_a_key_has_leaked() -> None:
    store = FakeStore(made_account("user", tier="pro"))
    await RotateCredentials(store, MASTER_KEYS)(delivery(), user_ref="user", grace_seconds=60)
    move = MoveAccounts(store, NEW_RING)
    assert (await move(limit=5, grace_seconds=60)).moved == 0
    assert (await move(limit=5, grace_seconds=0)).moved == 1


async def test_an_account_that_is_gone_is_passed_over() -> None:
    store = filled_store()
    listed = await store.users_to_move(["1"], also_in_grace=False, limit=5)
    store.state.accounts.clear()

    class Stale(FakeStore):
        async def users_to_move(self, *_: object, **__: object) -> list[str]:
            return listed

    stale = Stale()
    stale.state = store.state
    assert await MoveAccounts(stale, NEW_RING)(limit=6, grace_seconds=60) == Moved(moved=0, is_last=True)
