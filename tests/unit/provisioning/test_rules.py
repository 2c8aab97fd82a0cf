"""E-mail addresses, tiers, whose an account is, and the order of tier changes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from jettythunder.errors import InvalidField, UnknownTier, UserIdTaken
from provisioning.accounts.model import (
    Tier,
    User,
    check_email,
    check_tier_name,
    is_overtaken,
    user_id_of,
)

from .fakes import made_account

CHANGED_AT = datetime(2026, 1, 1, tzinfo=UTC)
ACCOUNT = replace(made_account("test-123", tier="starter"), tier_changed_at=CHANGED_AT)


@pytest.mark.parametrize("email", ["test@example.com", "a@b", '"x@y"@example.com', "ü@exämple.de"])
def test_an_address_is_taken(email: str) -> None:
    check_email(email)


@pytest.mark.parametrize(
    "email", ["", "test", "@example.com", "test@", "a b@example.com", "a\n@b.c", "a@b\x00"]
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(InvalidField, match="name@domain"):
        check_email(email)


@pytest.mark.parametrize("tier", ["", "pro\x00", "pro\n"])
def test_what_no_tier_is_called_is_refused(tier: str) -> None:
    with pytest.raises(UnknownTier):
        check_tier_name(tier)


def test_quotas_are_in_billions_of_bytes() -> None:
    starter = Tier(tier="starter", storage_quota_gb=2, bandwidth_quota_gb=10, jetty_speed_enabled=False)
    assert (starter.storage_quota_bytes, starter.bandwidth_quota_bytes) == (2_000_000_000, 10_000_000_000)


def test_an_account_is_its_own_user_s() -> None:
    User.of("test-123").check_owns(ACCOUNT)


def test_the_uuid_that_a_name_maps_to_is_another_user() -> None:
    with pytest.raises(UserIdTaken):
        User.of(str(user_id_of("test-123"))).check_owns(ACCOUNT)


def test_the_name_that_maps_to_a_user_s_uuid_is_another_user() -> None:
    theirs = replace(ACCOUNT, agentcache_user_ref=str(user_id_of("test-123")))
    with pytest.raises(UserIdTaken):
        User.of("test-123").check_owns(theirs)


def test_a_uuid_in_capitals_is_the_same_user() -> None:
    user = "0b2f9a34-51c7-4a7e-9d18-7a6f3f0e2c11"
    User.of(user.upper()).check_owns(replace(ACCOUNT, agentcache_user_ref=user))


def test_the_older_of_two_tier_changes_is_overtaken() -> None:
    assert is_overtaken(ACCOUNT, CHANGED_AT - timedelta(microseconds=1))


@pytest.mark.parametrize("changed_at", [CHANGED_AT, CHANGED_AT + timedelta(seconds=1), None])
def test_a_tier_change_that_is_not_older_is_not_overtaken(changed_at: datetime | None) -> None:
    assert not is_overtaken(ACCOUNT, changed_at)


def test_the_first_tier_change_is_not_overtaken() -> None:
    assert not is_overtaken(replace(ACCOUNT, tier_changed_at=None), CHANGED_AT)
