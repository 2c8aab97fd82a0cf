"""The gateway's and provisioning's ends of the wire, and a look at what the usage-meter made of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import httpx
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aiohttp import web
from tests.support.event_log import logged_events
from tests.support.infrastructure import (
    IdleServers,
    Infrastructure,
    RunningService,
    ServiceStarter,
)
from tests.support.waiting import eventually

from jettythunder.broker import topology
from jettythunder.contracts.assets import AssetDeletedV1, AssetDownloadedV1, AssetStreamedV1
from jettythunder.contracts.envelope import Event, Payload
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1
from jettythunder.settings import StorageSettings
from jettythunder.storage import Storage
from usage_meter.messages import USAGE_METER_EVENTS

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"

GB = 1_000_000_000
WAIT_SECONDS = 60.0

_PROOF = """
SELECT u.storage_used_bytes = l.storage_used AND u.storage_reserved_bytes = l.storage_reserved
    AND u.bandwidth_used_bytes = l.bandwidth_used AND u.bandwidth_reserved_bytes = l.bandwidth_reserved
    AND u.request_count = l.requests AS sums_are_counters,
    u.storage_reserved_bytes = h.storage AND u.bandwidth_reserved_bytes = h.bandwidth AS holds_are_reserved
FROM account_usage u
CROSS JOIN LATERAL (
    SELECT coalesce(sum(used_delta_bytes) FILTER (WHERE resource = 'storage'), 0) AS storage_used,
        coalesce(sum(reserved_delta_bytes) FILTER (WHERE resource = 'storage'), 0) AS storage_reserved,
        coalesce(sum(used_delta_bytes) FILTER (
            WHERE resource = 'bandwidth' AND occurred_at >= u.period_start), 0) AS bandwidth_used,
        coalesce(sum(reserved_delta_bytes) FILTER (
            WHERE resource = 'bandwidth'), 0) AS bandwidth_reserved,
        coalesce(sum(request_count) FILTER (WHERE occurred_at >= u.period_start), 0) AS requests
    FROM usage_ledger WHERE account_id = u.account_id
) AS l
CROSS JOIN LATERAL (
    SELECT coalesce(sum(held_bytes) FILTER (WHERE resource = 'storage'), 0) AS storage,
        coalesce(sum(held_bytes) FILTER (WHERE resource = 'bandwidth'), 0) AS bandwidth
    FROM usage_reservations WHERE account_id = u.account_id
) AS h
WHERE u.account_id = $1
"""

_NEW_ACCOUNT = """
INSERT INTO agentcache_accounts (id, agentcache_user_id, agentcache_user_ref, agentcache_email,
    agentcache_tier, api_key, api_secret, storage_quota_gb, bandwidth_quota_gb, s3_bucket_name, s3_prefix)
VALUES ($1, $1, $2, 'a@example.com', 'pro', $2, '', $3, $4, 'agentcache-assets', $5)
"""


@dataclass(frozen=True)
class Wire:
    """Publishes events as a gateway's relay does, and reads what was published."""

    rabbitmq_url: str
    channel: AbstractChannel

    async def publish(
        self, payload: Payload, *, event_id: UUID | None = None, at: datetime | None = None, copies: int = 1
    ) -> UUID:
        """Publish an event, several times if asked for, and return its id."""
        event = Event[Payload](
            id=event_id or uuid4(),
            source="/storage-gateway",
            type=payload.TYPE,
            subject=payload.about,
            time=at or datetime.now(UTC),
            data=payload,
        )
        for _ in range(copies):
            await self.send(event.encode(), event.type, str(event.id))
        return event.id

    async def send(self, body: bytes, event_type: str, message_id: str) -> None:
        message = aio_pika.Message(
            body, type=event_type, message_id=message_id, delivery_mode=aio_pika.DeliveryMode.PERSISTENT
        )
        exchange = await self.channel.get_exchange(topology.EVENTS)
        await exchange.publish(message, routing_key=event_type)

    async def logged(self, payload: type[Payload], account_id: UUID) -> list[Event[Any]]:
        """The events of a type about an account that the event log holds at this moment."""
        model = Event[payload]  # type: ignore[valid-type]
        return [
            model.model_validate(event.model_dump())
            for event in await logged_events(self.rabbitmq_url, payload.TYPE)
            if event.subject == str(account_id)
        ]

    async def dead_letters(self) -> int:
        """How many dead letters the usage-meter has."""
        return await self.depth(USAGE_METER_EVENTS.dead_letter_queue)

    async def depth(self, queue: str) -> int:
        """How many messages are ready in a queue."""
        declared = await self.channel.declare_queue(queue, passive=True)
        return int(declared.declaration_result.message_count or 0)

    async def dead_letter(self, message_id: str) -> AbstractIncomingMessage:
        """Wait for this message among the usage-meter's dead letters; the others stay where they are."""
        name = USAGE_METER_EVENTS.dead_letter_queue
        dead = await self.channel.declare_queue(name, passive=True)
        others: list[AbstractIncomingMessage] = []
        try:
            async with asyncio.timeout(WAIT_SECONDS), dead.iterator() as arriving:
                async for message in arriving:
                    if message.message_id == message_id:
                        await message.ack()
                        return message
                    others.append(message)
        finally:
            for other in others:
                await other.nack(requeue=True)
        raise AssertionError("the dead-letter queue closed")


@dataclass(frozen=True)
class Tenant:
    """An account, with what gateway and provisioning do to it."""

    id: UUID
    pool: Pool
    wire: Wire

    async def reserve(
        self, size_bytes: int, *, upload_id: UUID | None = None, expires_at: datetime | None = None
    ) -> UUID | None:
        """Reserve storage as an upload does; the reservation, or None where there is no room."""
        reservation = upload_id or uuid4()
        row = await self.pool.fetchrow(
            "SELECT * FROM reserve_storage_v1($1, $2, $3, $4)",
            self.id,
            reservation,
            size_bytes,
            expires_at or datetime.now(UTC) + timedelta(hours=1),
        )
        return reservation if row is not None and row["granted"] else None

    async def reserve_bandwidth(self, size_bytes: int, *, expires_at: datetime | None = None) -> UUID | None:
        """Reserve bandwidth as a download does; the reservation, or None where there is no room."""
        reservation = uuid4()
        row = await self.pool.fetchrow(
            "SELECT * FROM reserve_bandwidth_v1($1, $2, $3, $4)",
            self.id,
            reservation,
            size_bytes,
            expires_at or datetime.now(UTC) + timedelta(hours=1),
        )
        return reservation if row is not None and row["granted"] else None

    async def complete(
        self,
        upload_id: UUID,
        size_bytes: int,
        *,
        stored_bytes: int | None = None,
        asset_id: UUID | None = None,
        **how: Any,
    ) -> UUID:
        """Say that an upload was completed; the event's id."""
        stored = size_bytes if stored_bytes is None else stored_bytes
        payload = UploadCompletedV1(
            account_id=self.id,
            upload_id=upload_id,
            asset_id=asset_id or uuid4(),
            size_bytes=size_bytes,
            stored_bytes=stored,
            chunk_count=1,
            deduplicated=stored == 0,
            duration_seconds=0.1,
        )
        return await self.wire.publish(payload, **how)

    async def abort(self, upload_id: UUID, **how: Any) -> UUID:
        """Say that an upload was given up."""
        payload = UploadAbortedV1(account_id=self.id, upload_id=upload_id, code="expired")
        return await self.wire.publish(payload, **how)

    async def delete(self, size_bytes: int, *, asset_id: UUID | None = None, **how: Any) -> UUID:
        """Say that an asset was deleted."""
        payload = AssetDeletedV1(
            account_id=self.id, asset_id=asset_id or uuid4(), size_bytes=size_bytes, reason="request"
        )
        return await self.wire.publish(payload, **how)

    async def download(self, reservation_id: UUID, size_bytes: int, **how: Any) -> UUID:
        """Say that a download was signed."""
        payload = AssetDownloadedV1(
            account_id=self.id, asset_id=uuid4(), reservation_id=reservation_id, size_bytes=size_bytes
        )
        return await self.wire.publish(payload, **how)

    async def stream(self, reservation_id: UUID, sent_bytes: int, **how: Any) -> UUID:
        """Say that bytes were sent."""
        payload = AssetStreamedV1(
            account_id=self.id, asset_id=uuid4(), reservation_id=reservation_id, sent_bytes=sent_bytes
        )
        return await self.wire.publish(payload, **how)

    async def store(self, size_bytes: int, **how: Any) -> UUID:
        """Upload an asset: reserve and complete; the event's id."""
        upload_id = await self.reserve(size_bytes)
        assert upload_id is not None, "there is no room for the upload"
        return await self.complete(upload_id, size_bytes, **how)

    async def send_bytes(self, size_bytes: int, **how: Any) -> UUID:
        """Stream bytes: reserve and send; the event's id."""
        reservation_id = await self.reserve_bandwidth(size_bytes)
        assert reservation_id is not None, "there is no room for the download"
        return await self.stream(reservation_id, size_bytes, **how)

    async def change_quota(self, *, storage_gb: int) -> None:
        """Another tier's storage quota, as provisioning sets it."""
        await self.pool.execute(
            "UPDATE agentcache_accounts SET storage_quota_gb = $2 WHERE id = $1", self.id, storage_gb
        )
        await self.pool.execute(
            "SELECT set_quotas_v1(id, storage_quota_gb * 1000000000::bigint,"
            " bandwidth_quota_gb * 1000000000::bigint) FROM agentcache_accounts WHERE id = $1",
            self.id,
        )

    async def quota(self) -> dict[str, Any]:
        """The quota answer."""
        row = await self.pool.fetchrow("SELECT * FROM quota_of_v1($1)", self.id)
        assert row is not None
        return dict(row)

    async def shows(self, **figures: object) -> None:
        """Wait until the quota answer has these figures."""

        async def same() -> bool:
            quota = await self.quota()
            assert {name: quota[name] for name in figures} == figures
            return True

        await eventually(same, timeout_seconds=WAIT_SECONDS)

    async def processed(self, *event_ids: UUID, by: topology.ConsumerQueue = USAGE_METER_EVENTS) -> None:
        """Wait until the usage-meter has processed events."""

        async def all_are() -> bool:
            return bool(
                await self.pool.fetchval(
                    "SELECT count(*) = $2 FROM inbox WHERE consumer = $1 AND event_id = ANY ($3::uuid[])",
                    by.name,
                    len(event_ids),
                    list(event_ids),
                )
            )

        await eventually(all_are, timeout_seconds=WAIT_SECONDS)

    async def hours(self) -> list[dict[str, Any]]:
        """The account's hourly rows, the earliest first."""
        rows = await self.pool.fetch(
            "SELECT * FROM storage_usage WHERE account_id = $1 ORDER BY period_start", self.id
        )
        return [dict(row) for row in rows]

    async def proves_its_counters(self) -> None:
        """The ledger's sums are the counters, and the open holds are what is reserved."""
        row = await self.pool.fetchrow(_PROOF, self.id)
        assert row is not None
        assert dict(row) == {"sums_are_counters": True, "holds_are_reserved": True}


@dataclass(frozen=True)
class Tenants:
    """Makes accounts."""

    pool: Pool
    wire: Wire

    async def new(self, *, storage_gb: int = 20, bandwidth_gb: int = 50) -> Tenant:
        account_id = uuid4()
        await self.pool.execute(
            _NEW_ACCOUNT,
            account_id,
            f"user-{account_id}",
            storage_gb,
            bandwidth_gb,
            f"accounts/{account_id}/",
        )
        await self.pool.execute(
            "SELECT set_quotas_v1($1, $2, $3)", account_id, storage_gb * GB, bandwidth_gb * GB
        )
        return Tenant(account_id, self.pool, self.wire)


async def metric(ops: httpx.AsyncClient, name: str) -> float:
    """A figure of the usage-meter, by its name with labels; 0 where there is none yet."""
    lines = (await ops.get("/metrics")).text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return float(values.get(name, 0))


async def runs_again(ops: httpx.AsyncClient, work: str, *, outcome: str = "done", times: int = 2) -> None:
    """Wait until scheduled work has run some times more; one run may have been under way."""
    name = f'jettythunder_periodic_runs_total{{outcome="{outcome}",work="{work}"}}'
    before = await metric(ops, name)

    async def has_run() -> bool:
        return await metric(ops, name) >= before + times

    await eventually(has_run, timeout_seconds=WAIT_SECONDS)


@contextlib.asynccontextmanager
async def held_batch(tenant: Tenant) -> AsyncIterator[UUID]:
    """The usage-meter's consumer holds a batch, for as long as this account's counters are locked."""
    async with tenant.pool.acquire() as locking, locking.transaction():
        await locking.execute("SELECT FROM account_usage WHERE account_id = $1 FOR UPDATE", tenant.id)
        event_id = await tenant.complete(uuid4(), 1)
        await waits_for_a_lock(tenant.pool, "%account_usage%")
        yield event_id


async def waits_for_a_lock(pool: Pool, query: str) -> None:
    """Wait until a statement of the usage-meter waits for a lock."""

    async def waits() -> bool:
        return bool(
            await pool.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'usage-meter'"
                " AND wait_event_type = 'Lock' AND query ILIKE $1)",
                query,
            )
        )

    await eventually(waits, timeout_seconds=WAIT_SECONDS)


@pytest.fixture(scope="package")
def servers(idle_servers: IdleServers) -> Iterator[Infrastructure]:
    """Servers of the usage-meter's own, so that no other one hears its events."""
    with idle_servers.borrowed() as borrowed:
        yield borrowed


@dataclass
class Receiver:
    """AgentCache's end of the webhooks. ``answers`` are an account's next statuses; 204 after them."""

    url: str = ""
    taken: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    answers: dict[UUID, list[int]] = field(default_factory=dict)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.taken.append((request.headers, body))
        answers = self.answers.get(UUID(json.loads(body)["subject"]))
        return web.Response(status=answers.pop(0) if answers else 204)

    def about(self, account_id: UUID) -> list[tuple[Mapping[str, str], dict[str, Any]]]:
        """Headers and events of what was sent about an account."""
        taken = [(headers, json.loads(body)) for headers, body in self.taken]
        return [(headers, event) for headers, event in taken if event["subject"] == str(account_id)]


@pytest_asyncio.fixture(scope="package")
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/webhooks", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks"
    yield made
    await runner.cleanup()


@pytest.fixture(scope="package")
def environment(receiver: Receiver) -> Mapping[str, str]:
    """What the usage-meter is started with; the schedule is quick, so that tests wait shortly."""
    return {
        "AGENTCACHE_WEBHOOK_URL": receiver.url,
        "RETRY_DELAYS_SECONDS": "[0.2, 0.4]",
        "USAGE_RECONCILE_SETTLE_SECONDS": "0.2",
        "USAGE_ROLLUP_SECONDS": "0.2",
        "USAGE_LATE_ROLLUP_SECONDS": "0.3",
        "USAGE_CLOSE_SECONDS": "0.3",
        "USAGE_CLOSE_AFTER_SECONDS": "0",
        "USAGE_SWEEP_SECONDS": "0.3",
        "JETTYTHUNDER_OPS_TOKENS": "reader:ops:read:token-of-reader",
    }


@pytest_asyncio.fixture(scope="package")
async def storage(servers: Infrastructure) -> AsyncIterator[Storage]:
    """The bucket."""
    names = {name.upper() for name in StorageSettings.model_fields}
    given = {name.lower(): value for name, value in servers.environment.items() if name in names}
    opened = Storage(StorageSettings.model_validate(given))
    await opened.open()
    await opened.ensure_bucket()
    yield opened
    await opened.close()


@pytest.fixture(scope="package")
def meter(
    servers: Infrastructure,
    storage: Storage,
    environment: Mapping[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningService]:
    """The service under test; it is ready where its bucket is."""
    starter = ServiceStarter(servers, tmp_path_factory.mktemp("usage-meter"))
    yield starter("usage-meter", environment)
    starter.end()


@pytest_asyncio.fixture(scope="package")
async def ops(servers: Infrastructure, meter: RunningService) -> AsyncIterator[httpx.AsyncClient]:
    """Calls the usage-meter as ops."""
    headers = {"Authorization": f"Bearer {servers.environment['JETTYTHUNDER_OPS_TOKEN']}"}
    async with httpx.AsyncClient(base_url=meter.url, headers=headers, timeout=30) as client:
        yield client


@pytest_asyncio.fixture(scope="package")
async def pool(servers: Infrastructure) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(servers.database_url, min_size=1, max_size=10) as opened:
        yield opened


@pytest_asyncio.fixture(scope="package")
async def wire(servers: Infrastructure, meter: RunningService) -> AsyncIterator[Wire]:
    # The property tests occupy this process for minutes, in which it sends no heartbeats.
    async with await aio_pika.connect(servers.rabbitmq_url, heartbeat=0) as connection:
        yield Wire(servers.rabbitmq_url, await connection.channel())


@pytest.fixture(scope="package")
def tenants(pool: Pool, wire: Wire) -> Tenants:
    return Tenants(pool, wire)


@pytest_asyncio.fixture
async def tenant(tenants: Tenants) -> Tenant:
    """A new account with 20 GB of storage and 50 GB of bandwidth."""
    return await tenants.new()
