"""Moving accounts between tiers, on accounts in memory."""

from datetime import timedelta

import pytest

from jettythunder.contracts.accounts import AccountTierChangedV1
from jettythunder.errors import AccountNotFound, UnknownTier, UserIdTaken
from provisioning.accounts.change_tier import ChangeTier
from provisioning.accounts.model import user_id_of

from .fakes import MASTER_KEYS, NOW, FakeStore, delivery, made_account


def on(store: FakeStore) -> ChangeTier:
    return ChangeTier(store, MASTER_KEYS)


def changes(store: FakeStore) -> list[tuple[str, str]]:
    return [(e.previous_tier, e.tier) for e in store.state.events if isinstance(e, AccountTierChangedV1)]


async def test_a_change_puts_the_quotas_in_force() -> None:
    store = FakeStore(account := made_account("user", tier="starter"))
    reply = await on(store)(delivery(), user_ref="user", tier="pro")
    assert (reply.tier, reply.storage_quota_gb, reply.jetty_speed_enabled) == ("pro", 20, True)
    assert store.state.quota_bytes == {account.id: 20_000_000_000}
    assert changes(store) == [("starter", "pro")]


async def test_the_answer_has_the_status_that_follows_from_the_new_quota() -> None:
    store = FakeStore(account := made_account("user", tier="pro"))
    store.state.used_bytes[account.id] = 2_000_000_000
    down = await on(store)(delivery(), user_ref="user", tier="starter")
    up = await on(store)(delivery(), user_ref="user", tier="pro")
    assert (down.status, up.status) == ("over_quota", "active")


async def test_usage_is_locked_before_anything_is_changed() -> None:
    store = FakeStore(made_account("user", tier="starter"))
    await on(store)(delivery(), user_ref="user", tier="pro")
    assert store.state.locks == ["usage"]


async def test_a_change_that_a_newer_one_has_overtaken_has_no_effect() -> None:
    store = FakeStore(made_account("user", tier="free"))
    change = on(store)
    await change(delivery(), user_ref="user", tier="pro", changed_at=NOW)
    late = await change(
        delivery(), user_ref="user", tier="starter", changed_at=NOW - timedelta(microseconds=1)
    )
    assert late.tier == "pro"
    assert changes(store) == [("free", "pro")]


async def test_a_change_to_the_same_tier_overtakes_older_ones() -> None:
    store = FakeStore(made_account("user", tier="pro"))
    change = on(store)
    await change(delivery(), user_ref="user", tier="pro", changed_at=NOW)
    late = await change(delivery(), user_ref="user", tier="free", changed_at=NOW - timedelta(seconds=1))
    assert late.tier == "pro"
    assert changes(store) == []


async def test_a_repeated_change_does_not_undo_a_later_one() -> None:
    store = FakeStore(made_account("user", tier="free"))
    change, message = on(store), delivery()
    await change(message, user_ref="user", tier="pro")
    await change(delivery(), user_ref="user", tier="starter")
    assert (await change(message, user_ref="user", tier="pro")).tier == "starter"
    assert changes(store) == [("free", "pro"), ("pro", "starter")]


async def test_a_user_without_account_is_not_found_and_may_be_tried_again() -> None:
    store, message = FakeStore(), delivery()
    with pytest.raises(AccountNotFound):
        await on(store)(message, user_ref="user", tier="pro")
    assert message not in store.state.processed


async def test_another_user_s_account_is_not_moved() -> None:
    store = FakeStore(made_account("user", tier="free"))
    with pytest.raises(UserIdTaken):
        await on(store)(delivery(), user_ref=str(user_id_of("user")), tier="pro")
    assert changes(store) == []


async def test_an_unknown_tier_is_refused() -> None:
    with pytest.raises(UnknownTier):
        await on(FakeStore(made_account("user", tier="free")))(delivery(), user_ref="user", tier="gold")
