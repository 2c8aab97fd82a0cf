"""E-mail addresses, tiers, status and the order of tier changes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from jettythunder.errors import ConfigurationError, InvalidField, UnknownTier
from provisioning import domain
from provisioning.domain import Account, Credentials, Tier, Usage

MASTER_KEY = "a master key of thirty-two characters or more"
ACCOUNT_ID = UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10")
CHANGED_AT = datetime(2026, 1, 1, tzinfo=UTC)
STARTER = Tier(tier="starter", storage_quota_gb=2, bandwidth_quota_gb=10, jetty_speed_enabled=False)
PAIR = Credentials.derive(MASTER_KEY, account_id=ACCOUNT_ID, version=1, environment="test")
ACCOUNT = Account(
    id=ACCOUNT_ID,
    agentcache_user_ref="test-123",
    agentcache_email="test@example.com",
    agentcache_tier="starter",
    tier_changed_at=CHANGED_AT,
    api_key=PAIR.api_key,
    api_secret=PAIR.secret_digest,
    credential_version=1,
    storage_quota_gb=2,
    bandwidth_quota_gb=10,
    jetty_speed_enabled=False,
    rate_limit_per_minute=60,
    max_file_size_mb=50,
    s3_bucket_name="agentcache-assets",
    s3_prefix=f"accounts/{ACCOUNT_ID}/",
    folder_created_at=None,
    status="active",
)


@pytest.mark.parametrize("email", ["test@example.com", "a@b", '"x@y"@example.com', "ü@exämple.de"])
def test_an_address_is_taken(email: str) -> None:
    domain.check_email(email)


@pytest.mark.parametrize(
    "email", ["", "test", "@example.com", "test@", "a b@example.com", "a\n@b.c", "a@b\x00"]
)
def test_what_is_no_address_is_refused(email: str) -> None:
    with pytest.raises(InvalidField, match="name@domain"):
        domain.check_email(email)


@pytest.mark.parametrize("tier", ["", "pro\x00", "pro\n"])
def test_what_no_tier_is_called_is_refused(tier: str) -> None:
    with pytest.raises(UnknownTier):
        domain.check_tier_name(tier)


@pytest.mark.parametrize(
    ("status", "storage_used_bytes", "bandwidth_used_bytes", "expected"),
    [
        ("active", 1_999_999_999, 9_999_999_999, "active"),
        ("active", 2_000_000_000, 0, "over_quota"),
        ("active", 0, 10_000_000_000, "over_quota"),
        ("over_quota", 1_999_999_999, 0, "active"),
        ("suspended", 0, 0, "suspended"),
        ("suspended", 2_000_000_000, 0, "suspended"),
    ],
)
def test_status_in_a_tier_to_the_byte(
    status: str, storage_used_bytes: int, bandwidth_used_bytes: int, expected: str
) -> None:
    usage = Usage(storage_used_bytes=storage_used_bytes, bandwidth_used_bytes=bandwidth_used_bytes)
    assert domain.status_in_tier(status, usage, STARTER) == expected


def test_who_uses_nothing_is_within_a_quota_of_nothing() -> None:
    free = Tier(tier="free", storage_quota_gb=0, bandwidth_quota_gb=0, jetty_speed_enabled=False)
    assert (
        domain.status_in_tier("active", Usage(storage_used_bytes=0, bandwidth_used_bytes=0), free) == "active"
    )


def test_the_older_of_two_tier_changes_is_overtaken() -> None:
    assert domain.is_overtaken(ACCOUNT, CHANGED_AT - timedelta(microseconds=1))


@pytest.mark.parametrize("changed_at", [CHANGED_AT, CHANGED_AT + timedelta(seconds=1), None])
def test_a_tier_change_that_is_not_older_is_not_overtaken(changed_at: datetime | None) -> None:
    assert not domain.is_overtaken(ACCOUNT, changed_at)


def test_the_first_tier_change_is_not_overtaken() -> None:
    assert not domain.is_overtaken(replace(ACCOUNT, tier_changed_at=None), CHANGED_AT)


def test_the_derivation_never_changes() -> None:
    assert PAIR.api_key == "jt_test_ctdb3nmonln765dlut7iadmxtxascfm7gf7n2jlzubcppuduptaa"


def test_the_secret_s_derivation_never_changes() -> None:
    assert PAIR.secret_digest == "093f4c9173f119790aef1bcc99acfafbdafcdd44aee3de4a684fb074f76e0886"


def test_every_version_has_a_pair_of_its_own() -> None:
    second = Credentials.derive(MASTER_KEY, account_id=ACCOUNT_ID, version=2, environment="test")
    assert {PAIR.api_key, PAIR.api_secret}.isdisjoint({second.api_key, second.api_secret})


def test_an_account_keeps_the_environment_it_was_made_in() -> None:
    assert domain.credentials_of(ACCOUNT, MASTER_KEY) == PAIR


def test_another_master_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="JETTYTHUNDER_MASTER_KEY"):
        domain.credentials_of(ACCOUNT, MASTER_KEY[::-1])


def test_credentials_do_not_show_when_printed() -> None:
    assert PAIR.api_secret not in f"{PAIR!r} {PAIR}"
