"""Moving accounts between tiers."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.integration.provisioning.conftest import AgentCache, Broker, Gateway, Pool

from jettythunder.broker.settling import ERROR_CODE
from jettythunder.contracts.accounts import AccountTierChangedV1, ChangeTierV1, ProvisionAccountV1
from jettythunder.contracts.agentcache import UserTierChangedV1
from provisioning.accounts.model import user_id_of
from provisioning.messages import PROVISIONING_EVENTS


async def provision(gateway: Gateway, user: str, *, tier: str) -> UUID:
    command = ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier=tier)
    return (await gateway.account(command)).id


async def use(pool: Pool, account_id: UUID, storage_used_bytes: int) -> None:
    await pool.execute(
        "UPDATE account_usage SET storage_used_bytes = $2 WHERE account_id = $1",
        account_id,
        storage_used_bytes,
    )


async def reserve(pool: Pool, account_id: UUID, size_bytes: int) -> Any:
    return await pool.fetchval(
        "SELECT granted FROM reserve_storage_v1($1, $2, $3, now() + interval '1 hour')",
        account_id,
        uuid4(),
        size_bytes,
    )


async def test_an_upgrade_is_in_force_at_once(gateway: Gateway, pool: Pool, user: str) -> None:
    account_id = await provision(gateway, user, tier="free")
    account = await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="pro"))
    limits = (account.tier, account.storage_quota_gb, account.bandwidth_quota_gb, account.jetty_speed_enabled)
    assert limits == ("pro", 20, 50, True)
    assert await reserve(pool, account_id, 20_000_000_000)


async def test_a_downgrade_below_what_is_used_leaves_the_account_over_quota(
    gateway: Gateway, pool: Pool, user: str
) -> None:
    await use(pool, account_id := await provision(gateway, user, tier="pro"), 2_000_000_001)
    account = await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="starter"))
    assert (account.status, account.storage_quota_gb, account.jetty_speed_enabled) == ("over_quota", 2, False)
    assert not await reserve(pool, account_id, 1)


async def test_an_upgrade_above_what_is_used_ends_over_quota(gateway: Gateway, pool: Pool, user: str) -> None:
    await use(pool, await provision(gateway, user, tier="pro"), 3_000_000_000)
    await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="starter"))
    account = await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="pro"))
    assert account.status == "active"


async def test_bandwidth_of_a_period_that_is_over_does_not_count(
    gateway: Gateway, pool: Pool, user: str
) -> None:
    account_id = await provision(gateway, user, tier="pro")
    await pool.execute(
        "UPDATE account_usage SET bandwidth_used_bytes = 4e10, period_end = now() WHERE account_id = $1",
        account_id,
    )
    account = await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="starter"))
    assert account.status == "active"


async def test_a_suspended_account_stays_suspended(gateway: Gateway, pool: Pool, user: str) -> None:
    account_id = await provision(gateway, user, tier="starter")
    await pool.execute("UPDATE agentcache_accounts SET suspended_at = now() WHERE id = $1", account_id)
    account = await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="pro"))
    assert (account.tier, account.status) == ("pro", "suspended")


async def test_a_tier_change_under_another_user_s_id_changes_nothing(
    agentcache: AgentCache, broker: Broker, gateway: Gateway, pool: Pool, user: str
) -> None:
    account_id = await provision(gateway, user, tier="starter")
    theirs = str(user_id_of(user))
    denied = await gateway.denial(ChangeTierV1(agentcache_user_id=theirs, tier="pro"))
    assert (denied.code, denied.status) == ("user_id_taken", 409)
    message_id = await agentcache.publish(UserTierChangedV1.TYPE, {"user_id": theirs, "tier": "pro"})
    dead = await broker.dead_letter(PROVISIONING_EVENTS, message_id)
    assert dead.headers[ERROR_CODE] == "user_id_taken"
    tier = await pool.fetchval("SELECT agentcache_tier FROM agentcache_accounts WHERE id = $1", account_id)
    assert tier == "starter"


async def test_a_change_is_told_once_with_both_tiers(
    gateway: Gateway, broker: Broker, user: str, eventually: Any
) -> None:
    await provision(gateway, user, tier="starter")
    await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="business"))
    await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="business"))
    # One more change behind them: once it is told, so is all before it.
    await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="free"))

    async def told() -> list[tuple[str, str]]:
        events = await broker.events(AccountTierChangedV1.TYPE, agentcache_user_id=user)
        changes = [(event["data"]["previous_tier"], event["data"]["tier"]) for event in events]
        return changes if changes and changes[-1][1] == "free" else []

    assert await eventually(told) == [("starter", "business"), ("business", "free")]


async def test_an_unknown_user_is_denied(gateway: Gateway, user: str) -> None:
    denied = await gateway.denial(ChangeTierV1(agentcache_user_id=user, tier="pro"))
    assert (denied.code, denied.status, denied.retryable) == ("account_not_found", 404, False)


async def test_an_unknown_tier_is_denied(gateway: Gateway, user: str) -> None:
    await provision(gateway, user, tier="starter")
    denied = await gateway.denial(ChangeTierV1(agentcache_user_id=user, tier="gold"))
    assert denied.code == "unknown_tier"


async def test_a_change_that_arrives_late_does_not_undo_a_newer_one(
    agentcache: AgentCache, gateway: Gateway, user: str
) -> None:
    await provision(gateway, user, tier="starter")
    newer = datetime.now(UTC)
    await agentcache.account(UserTierChangedV1.TYPE, {"user_id": user, "tier": "business"}, time=newer)
    late = await agentcache.account(
        UserTierChangedV1.TYPE, {"user_id": user, "tier": "pro"}, time=newer - timedelta(seconds=1)
    )
    assert late.tier == "business"


async def test_a_publisher_s_fast_clock_does_not_lock_the_tier(
    agentcache: AgentCache, gateway: Gateway, user: str
) -> None:
    await provision(gateway, user, tier="starter")
    future = datetime.now(UTC) + timedelta(days=365)
    await agentcache.account(UserTierChangedV1.TYPE, {"user_id": user, "tier": "business"}, time=future)
    account = await agentcache.account(UserTierChangedV1.TYPE, {"user_id": user, "tier": "pro"})
    assert account.tier == "pro"


async def test_replaying_a_change_does_not_undo_the_gateway_s(
    agentcache: AgentCache, gateway: Gateway, user: str
) -> None:
    await provision(gateway, user, tier="starter")
    event = {"event_id": uuid4(), "time": datetime.now(UTC) + timedelta(days=1)}
    await agentcache.account(UserTierChangedV1.TYPE, {"user_id": user, "tier": "business"}, **event)
    await gateway.account(ChangeTierV1(agentcache_user_id=user, tier="pro"))
    again = await agentcache.account(UserTierChangedV1.TYPE, {"user_id": user, "tier": "business"}, **event)
    assert again.tier == "pro"


async def test_changes_and_usage_at_once_do_not_block_each_other(
    gateway: Gateway, pool: Pool, user: str
) -> None:
    account_id = await provision(gateway, user, tier="enterprise")

    async def count(turn: int) -> None:
        await use(pool, account_id, turn * 10_000_000)

    tiers = ("business", "enterprise")
    await asyncio.gather(
        *(gateway.account(ChangeTierV1(agentcache_user_id=user, tier=tiers[n % 2])) for n in range(40)),
        *(count(turn) for turn in range(40)),
    )
    row = await pool.fetchrow(
        "SELECT storage_quota_gb * 1000000000::bigint AS shown, storage_quota_bytes AS in_force "
        "FROM agentcache_accounts a JOIN account_usage u ON u.account_id = a.id WHERE a.id = $1",
        account_id,
    )
    assert row is not None
    assert row["shown"] == row["in_force"]
