"""A message that can't be processed, among many that can, on the running services."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import asyncpg
from tests.support.commands import OPERATOR, jettythunder
from tests.support.gateway import World
from tests.support.history import count_messages
from tests.support.infrastructure import Services
from tests.support.waiting import eventually

from jettythunder import outbox
from jettythunder.contracts.assets import AssetDownloadedV1
from usage_meter.messages import USAGE_METER_EVENTS

QUEUE = USAGE_METER_EVENTS.name
GOOD = 2_000
AT_ONCE = 500
TENANTS = 5
SENT_BYTES = 7


def sent(account_id: UUID) -> AssetDownloadedV1:
    """Bytes that an account was sent."""
    return AssetDownloadedV1(
        account_id=account_id, asset_id=uuid4(), reservation_id=uuid4(), size_bytes=SENT_BYTES
    )


async def commit(pool: asyncpg.Pool[asyncpg.Record], *payloads: AssetDownloadedV1) -> list[UUID]:
    """Commit events to the outbox, as services do; their ids."""
    rows = outbox.rows(*payloads, source="/test")
    await pool.execute(
        "INSERT INTO outbox (lane, exchange, routing_key, event_id, body)"
        " SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[], $4::uuid[], $5::text[])",
        *(rows.lanes, rows.exchanges, rows.routing_keys, rows.event_ids, rows.bodies),
    )
    return rows.event_ids


async def restore_account(pool: asyncpg.Pool[asyncpg.Record], account_id: UUID) -> None:
    """Bring back an account that was lost; newer ones are there, whose keys the provisioning service made."""
    await pool.execute(
        """
        INSERT INTO agentcache_accounts
            (id, agentcache_user_id, agentcache_user_ref, agentcache_email, agentcache_tier, api_key,
             api_secret, storage_quota_gb, bandwidth_quota_gb, s3_bucket_name, s3_prefix, created_at)
        SELECT id, id, id::text, 'lost@example.com', 'pro', id::text, '', 1, 1, 'bucket', id || '/',
            now() - interval '1 day'
        FROM (SELECT $1::uuid AS id) AS lost
        """,
        account_id,
    )
    # Provisioning does both in one transaction.
    await pool.execute("SELECT set_quotas_v1($1, 1000000000, 1000000000)", account_id)


async def test_one_poisoned_event_among_thousands(world: World, services: Services) -> None:
    pool, environment = world.backstage.pool, services.environment
    tenants = [await world.tenant() for _ in range(TENANTS)]
    lost_account_id = uuid4()
    outcomes = ("processed", "retried", "dead_lettered")
    before = {outcome: await count_messages(services, QUEUE, [outcome]) for outcome in outcomes}

    poisoned: UUID | None = None
    for begin in range(0, GOOD, AT_ONCE):
        if begin == GOOD // 2:
            [poisoned] = await commit(pool, sent(lost_account_id))
        await commit(pool, *(sent(tenants[number % TENANTS].account_id) for number in range(AT_ONCE)))

    async def all_good_are_booked() -> bool:
        for tenant in tenants:
            usage = await world.backstage.usage(tenant)
            assert usage["bandwidth_used_bytes"] == GOOD // TENANTS * SENT_BYTES
        return True

    await eventually(all_good_are_booked, timeout_seconds=120, poll_seconds=0.2)
    code, told = await jettythunder(environment, "dead-letters", "show", str(poisoned), "--json")
    letter = json.loads(told)
    assert (code, letter["consumer"], letter["error_code"]) == (0, QUEUE, "account_not_found")
    assert str(lost_account_id) in letter["error_message"]
    code, told = await jettythunder(environment, "dead-letters", "list", "--consumer", QUEUE, "--json")
    assert letter["fingerprint"] in {group["fingerprint"] for group in json.loads(told)}
    # None of the others waited for another attempt: the poisoned one failed alone.
    after = {outcome: await count_messages(services, QUEUE, [outcome]) for outcome in outcomes}
    assert (after["retried"] - before["retried"], after["dead_lettered"] - before["dead_lettered"]) == (0, 1)
    assert after["processed"] - before["processed"] >= GOOD

    await restore_account(pool, lost_account_id)
    code, told = await jettythunder(environment, "dead-letters", "retry", str(poisoned), "--json")
    assert (code, json.loads(told)) == (0, {"retried": 1})

    async def booked() -> bool:
        used = await pool.fetchval(
            "SELECT bandwidth_used_bytes FROM account_usage WHERE account_id = $1", lost_account_id
        )
        return bool(used == SENT_BYTES)

    await eventually(booked, timeout_seconds=30)
    code, told = await jettythunder(environment, "dead-letters", "show", str(poisoned), "--json")
    assert (code, json.loads(told)["code"]) == (1, "dead_letter_not_found")
    who = await pool.fetchval(
        "SELECT who FROM ops_audit WHERE action = 'dead-letters retry' AND result->'ids' ? $1", str(poisoned)
    )
    assert who == f"operator ({OPERATOR})"
