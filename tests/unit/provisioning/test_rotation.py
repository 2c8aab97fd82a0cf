"""Rotating credentials and suspending, on accounts in memory."""

import pytest

from jettythunder.contracts.accounts import AccountCredentialsRotatedV1
from jettythunder.errors import AccountNotFound, UserIdTaken
from provisioning.accounts.model import user_id_of
from provisioning.accounts.rotate import RotateCredentials
from provisioning.accounts.suspend import SuspendAccount

from .fakes import MASTER_KEYS, FakeStore, delivery, made_account


async def test_a_rotation_answers_with_the_next_pair() -> None:
    store = FakeStore(account := made_account("user", tier="pro"))
    reply = await RotateCredentials(store, MASTER_KEYS)(delivery(), user_ref="user", grace_seconds=0)
    pair = MASTER_KEYS.derive(account.id, version=2)
    assert (reply.api_key, reply.api_secret) == (pair.api_key, pair.api_secret)
    assert store.state.events == [AccountCredentialsRotatedV1(account_id=account.id, credential_version=2)]


async def test_a_repeated_rotation_makes_no_third_pair() -> None:
    store = FakeStore(made_account("user", tier="pro"))
    rotate, message = RotateCredentials(store, MASTER_KEYS), delivery()
    first = await rotate(message, user_ref="user", grace_seconds=0)
    assert await rotate(message, user_ref="user", grace_seconds=0) == first


async def test_the_credentials_of_another_user_are_not_rotated() -> None:
    store = FakeStore(account := made_account("user", tier="pro"))
    rotate = RotateCredentials(store, MASTER_KEYS)
    with pytest.raises(UserIdTaken):
        await rotate(delivery(), user_ref=str(user_id_of("user")), grace_seconds=0)
    assert list(store.state.accounts.values()) == [account]


async def test_a_rotation_without_account_is_refused() -> None:
    with pytest.raises(AccountNotFound):
        await RotateCredentials(FakeStore(), MASTER_KEYS)(delivery(), user_ref="user", grace_seconds=0)


async def test_a_suspension_begins_and_ends() -> None:
    suspend = SuspendAccount(FakeStore(made_account("user", tier="pro")), MASTER_KEYS)
    suspended = await suspend(delivery(), user_ref="user", suspended=True)
    resumed = await suspend(delivery(), user_ref="user", suspended=False)
    assert (suspended.status, resumed.status) == ("suspended", "active")


async def test_a_repeated_suspension_does_not_undo_its_end() -> None:
    suspend = SuspendAccount(FakeStore(made_account("user", tier="pro")), MASTER_KEYS)
    message = delivery()
    await suspend(message, user_ref="user", suspended=True)
    await suspend(delivery(), user_ref="user", suspended=False)
    assert (await suspend(message, user_ref="user", suspended=True)).status == "active"
