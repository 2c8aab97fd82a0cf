"""A service with one handler, which each test gives, on servers of this folder's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import pytest
import pytest_asyncio
import svcs
from aio_pika.abc import AbstractChannel
from faststream.rabbit import RabbitRouter
from tests.support.infrastructure import IdleServers, Infrastructure
from tests.support.outbox import write
from tests.support.waiting import eventually

from jettythunder import outbox
from jettythunder.broker import topology
from jettythunder.broker.event_log import LoggedEvent, open_event_log
from jettythunder.broker.service import Messaging, open_messaging
from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.contracts.envelope import Event
from jettythunder.database import Database
from jettythunder.lifecycle import open_database
from jettythunder.settings import ServiceSettings
from operations.assembly import Operations, open_operations
from operations.dead_letters import DeadLetter
from usage_meter.messages import MESSAGES, USAGE_METER_EVENTS

RETRY_DELAYS_SECONDS = (0.2, 0.4, 0.8)
QUEUE = USAGE_METER_EVENTS

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


async def logged(infrastructure: Infrastructure) -> list[LoggedEvent]:
    """Everything in the event log as of now."""
    async with open_event_log(infrastructure.rabbitmq_url) as log:
        return [entry async for entry in log.read()]


@contextlib.asynccontextmanager
async def opened_messaging(
    infrastructure: Infrastructure, routers: Sequence[RabbitRouter] = ()
) -> AsyncIterator[tuple[Database, Messaging]]:
    """The usage-meter's database and messaging, opened and closed as the service does; not started."""
    settings = settings_for(infrastructure)
    async with svcs.Registry() as registry:
        database = await open_database(registry, settings, service=MESSAGES.service)
        messaging = await open_messaging(registry, settings, database, messages=MESSAGES, routers=routers)
        yield database, messaging


@dataclass
class Bench:
    """A consumer of the usage-meter's queue whose handler each test gives, and what surrounds it."""

    infrastructure: Infrastructure
    database: Database
    messaging: Messaging
    operations: Operations
    sql: asyncpg.Connection[asyncpg.Record]
    channel: AbstractChannel
    seen: list[Event[AssetDeletedV1]] = field(default_factory=list)
    handler: Handler | None = None

    async def on_deleted(self, event: Event[AssetDeletedV1]) -> None:
        """Processes an event once in effect, as services do."""
        async with self.database.transaction() as connection:
            if self.handler is not None:
                await self.handler(event)
            is_first = await outbox.first_time(
                connection, consumer=QUEUE.name, event_id=event.id, event_time=event.time
            )
        # Once it is committed, so that a test which has seen it finds it in the inbox.
        if is_first:
            self.seen.append(event)

    async def commit(self, *payloads: AssetDeletedV1) -> list[UUID]:
        """Commit events to the outbox; their ids."""
        async with self.database.transaction() as connection:
            return await write(connection, *payloads)

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

    async def dead_letters(self, count: int) -> list[DeadLetter]:
        """Wait for this many dead letters."""
        letters: list[DeadLetter] = []

        async def found() -> bool:
            letters[:] = [each async for each in self.operations.dead_letters.letters(QUEUE.name)]
            assert len(letters) == count, letters
            return True

        await eventually(found, timeout_seconds=60, poll_seconds=0.2)
        return letters

    def ids(self) -> list[UUID]:
        return [event.id for event in self.seen]


@contextlib.asynccontextmanager
async def opened_bench(infrastructure: Infrastructure, *, started: bool = True) -> AsyncIterator[Bench]:
    """Empty tables and queues, and the consumer and its relay, which run where they are ``started``."""
    bench: Bench
    router = RabbitRouter()
    subscriber = router.subscriber(**consumes(QUEUE, prefetch=50))

    @subscriber(filter=of_type(AssetDeletedV1))
    async def on_deleted(event: Event[AssetDeletedV1]) -> None:
        await bench.on_deleted(event)

    sql = await asyncpg.connect(infrastructure.database_url)
    try:
        async with (
            opened_messaging(infrastructure, [router]) as (database, messaging),
            open_operations(infrastructure.database_url, infrastructure.broker) as operations,
            await aio_pika.connect(infrastructure.rabbitmq_url) as connection,
        ):
            channel = await connection.channel(publisher_confirms=True)
            await sql.execute("TRUNCATE outbox, outbox_quarantine, inbox, replays, ops_audit")
            for name in (QUEUE.name, QUEUE.dead_letter_queue):
                await (await channel.declare_queue(name, passive=True)).purge()
            bench = Bench(infrastructure, database, messaging, operations, sql, channel)
            if started:
                await messaging.start()
            yield bench
    finally:
        await sql.close()


@pytest.fixture(scope="package")
def servers(idle_servers: IdleServers) -> Iterator[Infrastructure]:
    """Servers of this folder's own: its consumer must not share queues with the session's services."""
    with idle_servers.borrowed() as borrowed:
        yield borrowed


@pytest.fixture
def own_infrastructure(servers: Infrastructure) -> Iterator[Infrastructure]:
    """The folder's servers, for a test that takes them away; afterwards all are there again."""
    yield servers
    servers.restore()


@pytest_asyncio.fixture
async def bench(servers: Infrastructure) -> AsyncIterator[Bench]:
    async with opened_bench(servers) as opened:
        yield opened
