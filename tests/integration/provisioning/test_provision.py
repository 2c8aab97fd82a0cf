"""Making accounts by command."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.provisioning.conftest import Authenticator, Broker, Gateway, Pool
from tests.support.infrastructure import ServiceStarter

from jettythunder.contracts.accounts import AccountProvisionedV1, AccountReply, ProvisionAccountV1
from jettythunder.storage import Storage
from provisioning.accounts.model import user_id_of

EMAIL = "test@example.com"


def wanted(user: str, *, tier: str = "pro", email: str = EMAIL) -> ProvisionAccountV1:
    return ProvisionAccountV1(agentcache_user_id=user, agentcache_email=email, tier=tier)


async def test_an_account_has_its_tier_s_limits(gateway: Gateway, user: str) -> None:
    account = await gateway.account(wanted(user))
    assert account.model_dump(exclude={"id", "api_key", "api_secret", "s3_prefix", "s3_bucket"}) == {
        "outcome": "account",
        "created": True,
        "agentcache_user_id": user,
        "agentcache_email": EMAIL,
        "tier": "pro",
        "storage_quota_gb": 20,
        "bandwidth_quota_gb": 50,
        "jetty_speed_enabled": True,
        "rate_limit_per_minute": 300,
        "max_file_size_mb": 500,
        "status": "active",
    }


async def test_the_pair_that_is_given_out_is_accepted(
    gateway: Gateway, authenticator: Authenticator, user: str
) -> None:
    account = await gateway.account(wanted(user))
    assert account.api_key.startswith(("jt_live_", "jt_test_"))
    assert account.api_secret.startswith("jts_")
    assert await authenticator.accepts(account)


async def test_the_account_s_folder_is_an_empty_object(gateway: Gateway, storage: Storage, user: str) -> None:
    account = await gateway.account(wanted(user))
    assert account.s3_prefix == f"accounts/{account.id}/"
    assert await storage.list_sizes(account.s3_prefix) == {account.s3_prefix: 0}


async def test_a_hundred_calls_at_once_make_one_account(
    gateway: Gateway, pool: Pool, start_service: ServiceStarter, user: str
) -> None:
    start_service("provisioning")
    answers: list[AccountReply] = await asyncio.gather(*(gateway.account(wanted(user)) for _ in range(100)))
    assert sum(answer.created for answer in answers) == 1
    assert len({answer.model_copy(update={"created": False}).model_dump_json() for answer in answers}) == 1
    rows = await pool.fetchval(
        "SELECT count(*) FROM agentcache_accounts WHERE agentcache_user_ref = $1", user
    )
    assert rows == 1


async def test_an_account_is_told_of_once(
    gateway: Gateway, broker: Broker, user: str, eventually: Any
) -> None:
    await asyncio.gather(*(gateway.account(wanted(user)) for _ in range(10)))
    # Once an account that was made later is told of, nothing more is to come of the first.
    await gateway.account(wanted(f"{user}-later"))

    async def told(who: str) -> list[dict[str, Any]]:
        return await broker.events(AccountProvisionedV1.TYPE, agentcache_user_id=who)

    await eventually(lambda: told(f"{user}-later"))
    events = await eventually(lambda: told(user))
    assert [event["data"]["tier"] for event in events] == ["pro"]


async def test_repeating_with_another_tier_and_email_changes_nothing(gateway: Gateway, user: str) -> None:
    first = await gateway.account(wanted(user))
    again = await gateway.account(wanted(user, tier="enterprise", email="other@example.com"))
    assert again == first.model_copy(update={"created": False})


async def test_a_uuid_is_the_account_s_user_id(gateway: Gateway, pool: Pool) -> None:
    user = uuid4()
    account = await gateway.account(wanted(str(user)))
    stored = await pool.fetchval(
        "SELECT agentcache_user_id FROM agentcache_accounts WHERE id = $1", account.id
    )
    assert (stored, account.agentcache_user_id) == (user, str(user))


async def test_another_id_is_kept_beside_the_uuid_it_maps_to(gateway: Gateway, pool: Pool, user: str) -> None:
    account = await gateway.account(wanted(user))
    row = await pool.fetchrow(
        "SELECT agentcache_user_id, agentcache_user_ref FROM agentcache_accounts WHERE id = $1", account.id
    )
    assert row is not None
    assert (UUID(str(row["agentcache_user_id"])).version, row["agentcache_user_ref"]) == (5, user)


async def test_the_uuid_that_a_user_id_maps_to_does_not_get_its_account(
    gateway: Gateway, pool: Pool, user: str
) -> None:
    await gateway.account(wanted(user))
    denied = await gateway.denial(wanted(str(user_id_of(user))))
    assert (denied.code, denied.status, denied.retryable) == ("user_id_taken", 409, False)
    rows = await pool.fetchval(
        "SELECT count(*) FROM agentcache_accounts WHERE agentcache_user_id = $1", user_id_of(user)
    )
    assert rows == 1


async def test_a_uuid_in_capitals_gets_the_same_account(gateway: Gateway) -> None:
    user = str(uuid4())
    first = await gateway.account(wanted(user))
    assert await gateway.account(wanted(user.upper())) == first.model_copy(update={"created": False})


@pytest.mark.parametrize("bad", ["a\nb", "\x00", " a", "a\u200b"])
async def test_a_bad_user_id_is_denied(gateway: Gateway, bad: str) -> None:
    denied = await gateway.denial(wanted(bad))
    assert (denied.code, denied.status, denied.retryable) == ("invalid_field", 422, False)


async def test_an_email_without_an_at_is_denied(gateway: Gateway, user: str) -> None:
    denied = await gateway.denial(wanted(user, email="test.example.com"))
    assert denied.code == "invalid_field"
    assert "name@domain" in denied.detail


@pytest.mark.parametrize("tier", ["gold", "", "Pro", "pro\x00"])
async def test_an_unknown_tier_is_denied_and_makes_nothing(
    gateway: Gateway, pool: Pool, user: str, tier: str
) -> None:
    denied = await gateway.denial(wanted(user, tier=tier))
    assert (denied.code, denied.status) == ("unknown_tier", 422)
    assert (
        await pool.fetchval("SELECT count(*) FROM agentcache_accounts WHERE agentcache_user_ref = $1", user)
        == 0
    )
