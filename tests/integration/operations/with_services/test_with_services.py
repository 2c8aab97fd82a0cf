"""Operations on the running services: the admin API, replay of the whole log, and usage rebuilt from it."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import httpx
import pytest
from tests.support.gateway import Tenant, World
from tests.support.history import checksums, count_messages, deliver_again, is_settled
from tests.support.infrastructure import Infrastructure, Services
from tests.support.waiting import eventually

from jettythunder import outbox
from jettythunder.broker import topology
from jettythunder.broker.event_log import EventFilter
from jettythunder.contracts.agentcache import UserSignedUpV1
from jettythunder.contracts.assets import AssetObjectMissingV1
from jettythunder.contracts.envelope import Event
from jettythunder.contracts.quota import QuotaThresholdCrossedV1
from jettythunder.database import Database
from operations.assembly import Operations
from usage_meter.messages import USAGE_METER_EVENTS

WHO = {"X-Operator": "tester"}


async def worked(world: World) -> Tenant:
    """A tenant who has uploaded, read and deleted, all of it booked."""
    tenant = await world.tenant()
    kept = await tenant.store(os.urandom(5000))
    gone = await tenant.store(os.urandom(3000))
    assert (await tenant.get("/api/storage/download", params={"asset_id": kept["id"]})).is_success
    assert (await tenant.get(f"/api/storage/stream/{kept['id']}")).is_success
    assert (await tenant.call("DELETE", f"/api/storage/assets/{gone['id']}")).is_success
    await world.backstage.holds_exactly(tenant, kept)

    async def all_sent_is_booked() -> bool:
        usage = await world.backstage.usage(tenant)
        return usage["bandwidth_used_bytes"] == 10_000 and usage["bandwidth_reserved_bytes"] == 0

    await eventually(all_sent_is_booked)
    return tenant


async def tell_of_alarms(database: Database, tenant: Tenant) -> None:
    """Events that come by themselves seldom: a threshold was crossed, an asset is said to lack its object."""
    crossed = QuotaThresholdCrossedV1(
        account_id=tenant.account_id, resource="storage", used_bytes=8, quota_bytes=10, threshold_percent=80
    )
    missing = AssetObjectMissingV1(
        account_id=tenant.account_id, asset_id=uuid4(), s3_bucket="bucket", s3_key="key", size_bytes=1
    )
    await outbox.write(database, crossed, missing, source="/test")


async def sign_up_by_event(pool: asyncpg.Pool[asyncpg.Record], rabbitmq_url: str) -> None:
    """A user whose account AgentCache's event made."""
    user, event_id = f"user-{uuid4().hex}", uuid4()
    payload = UserSignedUpV1(user_id=user, email="test@example.com", tier="pro")
    event = Event[UserSignedUpV1](id=event_id, source="/agentcache", type=payload.TYPE, data=payload)
    async with await aio_pika.connect(rabbitmq_url) as connection:
        exchange = await (await connection.channel()).get_exchange(topology.AGENTCACHE_EVENTS)
        message = aio_pika.Message(event.encode(), message_id=str(event_id), type=payload.TYPE)
        await exchange.publish(message, payload.TYPE)

    async def made() -> bool:
        found = await pool.fetchval(
            "SELECT folder_created_at FROM agentcache_accounts WHERE agentcache_user_ref = $1", user
        )
        return found is not None

    await eventually(made, timeout_seconds=30)


@pytest.mark.parametrize("queue", topology.event_queues(), ids=lambda queue: queue.name)
async def test_the_whole_log_coming_again_changes_no_row(
    world: World,
    database: Database,
    operations: Operations,
    services: Services,
    queue: topology.ConsumerQueue,
) -> None:
    pool = world.backstage.pool
    tenant = await worked(world)
    await sign_up_by_event(pool, services.environment["RABBITMQ_URL"])
    await tell_of_alarms(database, tenant)
    await eventually(lambda: is_settled(pool), timeout_seconds=60)
    before, settled_before = await checksums(pool), await count_messages(services, queue.name)
    replays = operations.replays
    done = await replays.run(await replays.begin(queue.name, EventFilter(), who="tester", rate=None))
    assert done.replayed_count > 0
    # A replay spares the consumers what they have processed; that they would pass it over is theirs to show.
    delivered = await deliver_again(services.environment["RABBITMQ_URL"], queue)

    async def all_passed_over() -> bool:
        return await count_messages(services, queue.name) >= settled_before + delivered

    await eventually(all_passed_over, timeout_seconds=120)
    await eventually(lambda: is_settled(pool), timeout_seconds=60)
    assert await checksums(pool) == before


async def rebuilt(meter: httpx.AsyncClient, tenant: Tenant) -> dict[str, Any]:
    """An account's usage by the log and by the ledger."""
    answer = await meter.get("/rebuilt", params={"account": str(tenant.account_id)})
    [account] = answer.raise_for_status().json()["accounts"]
    return dict(account)


async def test_usage_rebuilt_from_the_log_equals_the_ledger(world: World, meter: httpx.AsyncClient) -> None:
    account = await rebuilt(meter, await worked(world))
    assert account["is_comparable"]
    assert (account["log_storage_bytes"], account["ledger_storage_bytes"]) == (5000, 5000)
    assert [(month["log_bytes"], month["ledger_bytes"]) for month in account["months"]] == [(10_000, 10_000)]


async def test_a_ledger_that_tells_otherwise_than_the_log_is_found(
    world: World, meter: httpx.AsyncClient
) -> None:
    tenant = await worked(world)
    async with world.backstage.pool.acquire() as connection, connection.transaction():
        await connection.execute("ALTER TABLE usage_ledger DISABLE TRIGGER usage_ledger_append_only")
        await connection.execute(
            "UPDATE usage_ledger SET used_delta_bytes = used_delta_bytes + 7"
            " WHERE account_id = $1 AND used_delta_bytes = 3000",
            tenant.account_id,
        )
        await connection.execute("ALTER TABLE usage_ledger ENABLE TRIGGER usage_ledger_append_only")
    account = await rebuilt(meter, tenant)
    assert account["ledger_storage_bytes"] - account["log_storage_bytes"] == 7


@pytest.mark.parametrize("token", [None, "Bearer wrong"])
async def test_the_admin_api_lets_only_ops_in(admin: httpx.AsyncClient, token: str | None) -> None:
    admin.headers.pop("Authorization")
    answer = await admin.get("/dead-letters", headers={"Authorization": token} if token else {})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_replay_is_counted_begun_and_watched_over_http(
    world: World, admin: httpx.AsyncClient
) -> None:
    tenant = await worked(world)
    wanted = {"to": USAGE_METER_EVENTS.name, "filter": {"account": str(tenant.account_id)}}
    counted = (await admin.post("/replays/dry-run", json=wanted)).json()
    assert (counted["events"] > 0, counted["new"]) == (True, 0)
    begun = await admin.post("/replays", json=wanted, headers=WHO)
    assert begun.status_code == 202

    async def completed() -> bool:
        now = (await admin.get(f"/replays/{begun.json()['id']}")).json()
        return bool((now["status"], now["replayed_count"]) == ("completed", counted["events"]))

    await eventually(completed, timeout_seconds=60, poll_seconds=0.2)
    listed = {replay["id"]: replay for replay in (await admin.get("/replays")).json()}
    assert listed[begun.json()["id"]]["who"] == "operator (tester)"


async def test_events_are_watched_over_http_as_they_come(world: World, admin: httpx.AsyncClient) -> None:
    tenant = await world.tenant()
    wanted: dict[str, str | float] = {
        "type": "*.asset.stored.*",
        "account": str(tenant.account_id),
        "limit": 1,
    }

    async def next_from(offset: int) -> tuple[str, int]:
        told = (await admin.get("/events", params={**wanted, "from": offset, "wait_seconds": 30})).json()
        [event] = told["events"]
        return event["event"]["data"]["asset_id"], told["next_offset"]

    now = (await admin.get("/events", params={**wanted, "from": "next"})).json()
    assert now["events"] == []
    watching = asyncio.create_task(next_from(now["next_offset"]))
    stored = [await tenant.store(os.urandom(1000)) for _ in range(2)]
    first_id, offset = await watching
    second_id, _ = await next_from(offset)
    assert [first_id, second_id] == [asset["id"] for asset in stored]


async def test_watching_ends_in_time_where_nothing_comes(admin: httpx.AsyncClient) -> None:
    wanted: dict[str, str | float] = {"subject": uuid4().hex, "from": "next", "wait_seconds": 0.5}
    told = (await admin.get("/events", params=wanted)).json()
    assert (told["events"], type(told["next_offset"])) == ([], int)


async def test_a_dead_letter_is_shown_and_discarded_over_http(
    admin: httpx.AsyncClient, infrastructure: Infrastructure
) -> None:
    message_id = str(uuid4())
    async with await aio_pika.connect(infrastructure.rabbitmq_url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange(topology.AGENTCACHE_EVENTS)
        message = aio_pika.Message(b"{}", message_id=message_id, type=UserSignedUpV1.TYPE)
        await exchange.publish(message, UserSignedUpV1.TYPE)

    async def shown() -> dict[str, Any] | None:
        answer = await admin.get(f"/dead-letters/{message_id}")
        return answer.json() if answer.is_success else None

    letter = await eventually(shown, timeout_seconds=30, poll_seconds=0.2)
    assert letter["error_code"] == "malformed_event"
    body = {"selection": {"ids": [message_id]}, "why": "a test"}
    discarded = await admin.post("/dead-letters/discard", json=body, headers=WHO)
    assert discarded.json() == {"discarded": 1}
    [newest] = (await admin.get("/audit", params={"limit": 1})).json()
    assert (newest["who"], newest["filter"]["why"]) == ("operator (tester)", "a test")


async def test_an_uploads_story_is_traced_over_http(world: World, admin: httpx.AsyncClient) -> None:
    tenant = await world.tenant()
    answer = await tenant.upload(os.urandom(1000), headers={"X-Correlation-ID": f"story-{uuid4().hex}"})
    correlation = answer.headers["x-correlation-id"]

    async def whole() -> bool:
        told = await admin.get(f"/traces/{correlation}")
        types = {node["type"] for node in told.json()} if told.is_success else set()
        return types >= {
            "jettythunder.upload.created.v1",
            "jettythunder.upload.completed.v1",
            "jettythunder.asset.stored.v1",
        }

    await eventually(whole, timeout_seconds=30, poll_seconds=0.2)
    found = await admin.get("/events", params={"correlation_id": correlation, "type": "*.asset.stored.*"})
    [stored] = found.json()["events"]
    shown = (await admin.get(f"/events/{stored['event']['id']}")).json()
    assert UUID(shown["event"]["data"]["account_id"]) == tenant.account_id
