"""A database of its own for each test, on the session's broker, and a service that consumes from it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel
from faststream.rabbit import RabbitRouter
from jettythunder.backbone import Backbone, open_backbone
from jettythunder.operations import Operations, open_operations
from tests.support.infrastructure import Infrastructure

from jettythunder import outbox
from jettythunder.broker import topology
from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.contracts.envelope import Event
from jettythunder.database import Pool
from jettythunder.settings import ServiceSettings
from usage_meter.messages import MESSAGES, USAGE_METER_EVENTS

RETRY_DELAYS_SECONDS = (0.2, 0.4, 0.8)
QUEUE = USAGE_METER_EVENTS
SOURCE = "/test"

Handler = Callable[[Event[AssetDeletedV1]], Awaitable[None]]


def deleted(account_id: UUID | None = None, *, size_bytes: int = 1) -> AssetDeletedV1:
    """An event that the consumer under test takes."""
    return AssetDeletedV1(
        account_id=account_id or uuid4(), asset_id=uuid4(), size_bytes=size_bytes, reason="request"
    )


def settings_for(infrastructure: Infrastructure) -> ServiceSettings:
    """Settings with waits that a test can sit out."""
    known = {name: name.upper() for name in ServiceSettings.model_fields}
    given = infrastructure.environment
    values: dict[str, Any] = {name: given[key] for name, key in known.items() if key in given}
    return ServiceSettings.model_validate({**values, "retry_delays_seconds": RETRY_DELAYS_SECONDS})


@dataclass
class Bench:
    """A consumer of the usage-meter's queue whose handler each test gives, and the doors around it."""

    backbone: Backbone
    operations: Operations
    channel: AbstractChannel
    seen: list[Event[AssetDeletedV1]] = field(default_factory=list)
    handler: Handler | None = None

    @property
    def pool(self) -> Pool:
        return self.backbone.pool

    async def on_deleted(self, event: Event[AssetDeletedV1]) -> None:
        """Processes an event once in effect, as services do."""
        async with self.pool.acquire() as connection, connection.transaction():
            if self.handler is not None:
                await self.handler(event)
            if await outbox.first_time(connection, consumer=QUEUE.name, event_id=event.id):
                self.seen.append(event)

    async def commit(self, *payloads: AssetDeletedV1) -> list[UUID]:
        """Commit events to the outbox; their ids."""
        rows = outbox.rows(*payloads, source=SOURCE)
        async with self.pool.acquire() as connection, connection.transaction():
            await outbox.write_rows(connection, rows)
        return rows.event_ids

    async def publish(self, body: object, *, message_id: str | None = None, **properties: Any) -> str:
        """Publish a message as somebody else would: any body, under the type that the consumer takes."""
        identity = message_id or str(uuid4())
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = aio_pika.Message(
            content,
            message_id=identity,
            type=AssetDeletedV1.TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            **properties,
        )
        exchange = await self.channel.get_exchange(topology.EVENTS, ensure=False)
        await exchange.publish(message, AssetDeletedV1.TYPE)
        return identity

    def ids(self) -> list[UUID]:
        return [event.id for event in self.seen]


@contextlib.asynccontextmanager
async def opened_bench(infrastructure: Infrastructure, *, relay: bool = True) -> AsyncIterator[Bench]:
    """Empty tables and queues, and the consumer, running."""
    settings = settings_for(infrastructure)
    bench: Bench
    router = RabbitRouter()
    subscriber = router.subscriber(**consumes(QUEUE, prefetch=50))

    @subscriber(filter=of_type(AssetDeletedV1))
    async def on_deleted(event: Event[AssetDeletedV1]) -> None:
        await bench.on_deleted(event)

    async with (
        open_backbone(settings, name="backbone-test", queues=MESSAGES.queues, routers=[router]) as backbone,
        open_operations(backbone.pool, infrastructure.rabbitmq_url) as operations,
        await aio_pika.connect(infrastructure.rabbitmq_url) as connection,
    ):
        channel = await connection.channel(publisher_confirms=True)
        await _empty(backbone.pool, channel)
        bench = Bench(backbone, operations, channel)
        await backbone.broker.start()
        if relay:
            backbone.relay.start()
        yield bench


async def _empty(pool: asyncpg.Pool[asyncpg.Record], channel: AbstractChannel) -> None:
    await pool.execute("TRUNCATE outbox, outbox_quarantine, inbox, replays, ops_audit")
    for name in (QUEUE.name, QUEUE.dead_letter_queue):
        await (await channel.declare_queue(name, passive=True)).purge()


@pytest.fixture(scope="package")
def backbone_infrastructure(request: pytest.FixtureRequest) -> Infrastructure:
    """Servers of this package's own: its consumer must not share queues with the session's services."""
    from tests.support.infrastructure import running_infrastructure

    running = running_infrastructure()
    infrastructure = running.__enter__()
    request.addfinalizer(lambda: running.__exit__(None, None, None))
    return infrastructure


@pytest_asyncio.fixture
async def bench(backbone_infrastructure: Infrastructure) -> AsyncIterator[Bench]:
    async with opened_bench(backbone_infrastructure) as opened:
        yield opened
