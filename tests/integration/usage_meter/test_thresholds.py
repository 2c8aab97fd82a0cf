"""What is said when an account nears, reaches and leaves its quota, and how AgentCache hears of it."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import httpx
from tests.support.infrastructure import Infrastructure
from tests.support.waiting import eventually

from jettythunder.contracts.accounts import AccountTierChangedV1
from jettythunder.contracts.quota import QuotaExceededV1, QuotaRestoredV1, QuotaThresholdCrossedV1
from usage_meter.messages import USAGE_METER_WEBHOOKS

from .conftest import GB, WAIT_SECONDS, Receiver, Tenant, Tenants, Wire


async def said(wire: Wire, tenant: Tenant) -> list[str]:
    """What was said about an account's quotas, in short."""
    crossed = await wire.logged(QuotaThresholdCrossedV1, tenant.id)
    exceeded = await wire.logged(QuotaExceededV1, tenant.id)
    restored = await wire.logged(QuotaRestoredV1, tenant.id)
    return [
        *(f"{e.data.resource} {e.data.threshold_percent}" for e in crossed),
        *(f"{e.data.resource} exceeded" for e in exceeded),
        *(f"{e.data.resource} restored" for e in restored),
    ]


async def has_said(wire: Wire, tenant: Tenant, *wanted: str) -> None:
    async def same() -> bool:
        assert sorted(await said(wire, tenant)) == sorted(wanted)
        return True

    await eventually(same, timeout_seconds=WAIT_SECONDS)


async def tier_changed(tenant: Tenant, *, storage_gb: int) -> None:
    """Move the account to another quota, as provisioning does, and wait until that is announced."""
    await tenant.change_quota(storage_gb=storage_gb)
    event_id = await tenant.wire.publish(
        AccountTierChangedV1(
            account_id=tenant.id,
            agentcache_user_id="",
            previous_tier="pro",
            tier="starter",
            storage_quota_gb=storage_gb,
            bandwidth_quota_gb=50,
            jetty_speed_enabled=False,
        )
    )
    await tenant.processed(event_id)


async def test_each_threshold_is_said_once(tenants: Tenants, wire: Wire) -> None:
    tenant = await tenants.new(storage_gb=10)
    await tenant.processed(await tenant.store(8 * GB))
    await tenant.processed(await tenant.store(GB // 10))
    await tenant.processed(await tenant.store(2 * GB - GB // 10))
    await has_said(wire, tenant, "storage 80", "storage 95", "storage 100", "storage exceeded")
    await tenant.shows(status="over_quota")


async def test_a_threshold_is_said_again_after_it_was_left(tenants: Tenants, wire: Wire) -> None:
    tenant = await tenants.new(storage_gb=10)
    for _ in range(2):
        await tenant.processed(await tenant.store(8 * GB))
        await tenant.processed(await tenant.delete(8 * GB))
    await has_said(wire, tenant, "storage 80", "storage 80")


async def test_room_is_restored_by_deleting(tenants: Tenants, wire: Wire) -> None:
    tenant = await tenants.new(storage_gb=10)
    await tenant.processed(await tenant.store(10 * GB))
    await tenant.processed(await tenant.delete(10 * GB))
    await has_said(
        wire, tenant, "storage 80", "storage 95", "storage 100", "storage exceeded", "storage restored"
    )
    await tenant.shows(status="active")


async def test_a_downgrade_below_what_is_used_refuses_writes_and_an_upgrade_takes_them(
    tenants: Tenants, wire: Wire
) -> None:
    tenant = await tenants.new(storage_gb=20)
    await tenant.processed(await tenant.store(5 * GB))
    await tier_changed(tenant, storage_gb=2)
    await tenant.shows(status="over_quota", storage_quota_bytes=2 * GB)
    assert await tenant.reserve(1) is None
    await tier_changed(tenant, storage_gb=100)
    await tenant.shows(status="active", storage_quota_bytes=100 * GB)
    assert await tenant.reserve(1) is not None
    await has_said(
        wire, tenant, "storage 80", "storage 95", "storage 100", "storage exceeded", "storage restored"
    )


async def test_an_account_without_quota_that_uses_nothing_is_not_over_it(
    tenants: Tenants, wire: Wire
) -> None:
    tenant = await tenants.new(storage_gb=0, bandwidth_gb=0)
    await tier_changed(tenant, storage_gb=0)
    await tenant.processed(await tenant.complete(uuid4(), 0))
    assert (await tenant.quota())["status"] == "active"
    assert await said(wire, tenant) == []


async def test_a_new_month_restores_bandwidth_and_says_its_thresholds_anew(
    tenants: Tenants, wire: Wire
) -> None:
    tenant = await tenants.new(bandwidth_gb=10)
    await tenant.processed(await tenant.send_bytes(10 * GB))
    assert await tenant.reserve_bandwidth(1) is None
    await tenant.pool.execute(
        "UPDATE account_usage SET period_start = period_start - interval '1 month',"
        " period_end = period_start WHERE account_id = $1",
        tenant.id,
    )
    await tenant.shows(status="active", bandwidth_used_bytes=0)
    first_month = [
        "bandwidth 80",
        "bandwidth 95",
        "bandwidth 100",
        "bandwidth exceeded",
        "bandwidth restored",
    ]
    await has_said(wire, tenant, *first_month)
    await tenant.processed(await tenant.send_bytes(8 * GB))
    await has_said(wire, tenant, *first_month, "bandwidth 80")


async def webhooks(receiver: Receiver, tenant: Tenant, count: int) -> list[Any]:
    async def all_there() -> list[Any]:
        found = receiver.about(tenant.id)
        assert len(found) == count, found
        return found

    return await eventually(all_there, timeout_seconds=WAIT_SECONDS)


async def test_a_webhook_is_signed_and_names_the_user(
    tenants: Tenants, receiver: Receiver, servers: Infrastructure
) -> None:
    tenant = await tenants.new(storage_gb=10)
    await tenant.store(8 * GB)
    ((headers, event),) = await webhooks(receiver, tenant, 1)
    assert event["type"] == "jettythunder.quota.threshold_crossed.v1"
    assert event["data"]["agentcache_user_id"] == f"user-{tenant.id}"
    assert (event["data"]["threshold_percent"], event["data"]["used_bytes"]) == (80, 8 * GB)
    assert headers["webhook-id"] == event["id"]
    body = next(body for sent, body in receiver.taken if sent is headers or sent == headers)
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = servers.environment["AGENTCACHE_WEBHOOK_SECRET"].encode()
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


async def test_a_webhook_that_fails_is_sent_again_under_its_id(tenants: Tenants, receiver: Receiver) -> None:
    tenant = await tenants.new(storage_gb=10)
    # Two immediate attempts and the first delayed one fail.
    receiver.answers[tenant.id] = [500, 503, 429]
    await tenant.store(8 * GB)
    sent = await webhooks(receiver, tenant, 4)
    assert len({headers["webhook-id"] for headers, _ in sent}) == 1


async def replayed(wire: Wire, *events: Mapping[str, Any]) -> None:
    """Give events to the webhooks' consumer again, as a replay of the event log does."""
    exchange = await wire.channel.get_exchange(USAGE_METER_WEBHOOKS.replay_exchange)
    for event in events:
        message = aio_pika.Message(json.dumps(event).encode(), type=event["type"], message_id=event["id"])
        await exchange.publish(message, routing_key=event["type"])


async def passed_over(ops: httpx.AsyncClient) -> float:
    """How many webhooks were not sent because they had been taken before."""
    wanted = f'jettythunder_duplicates_total{{consumer="{USAGE_METER_WEBHOOKS.name}"}} '
    lines = (await ops.get("/metrics")).text.splitlines()
    return sum(float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted))


async def test_a_replay_sends_what_was_refused_and_not_what_was_taken(
    tenants: Tenants, receiver: Receiver, wire: Wire, ops: httpx.AsyncClient
) -> None:
    tenant = await tenants.new(storage_gb=10)
    await tenant.store(8 * GB)
    ((_, taken),) = await webhooks(receiver, tenant, 1)
    receiver.answers[tenant.id] = [400]
    await tenant.store(2 * GB - GB // 10)
    _, (_, refused) = await webhooks(receiver, tenant, 2)
    await tenant.processed(UUID(taken["id"]), by=USAGE_METER_WEBHOOKS)
    before = await passed_over(ops)
    await replayed(wire, taken, refused, taken)

    async def both_were_passed_over() -> bool:
        assert await passed_over(ops) == before + 2
        return True

    await eventually(both_were_passed_over, timeout_seconds=WAIT_SECONDS)
    sent = [event["id"] for _, event in await webhooks(receiver, tenant, 3)]
    assert sent == [taken["id"], refused["id"], refused["id"]]
