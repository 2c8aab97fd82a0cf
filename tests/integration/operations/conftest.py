"""Servers of this folder's own, a consumer whose handler each test gives, and the operations service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import httpx
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel
from faststream.rabbit import RabbitRouter
from tests.support.infrastructure import (
    IdleServers,
    Infrastructure,
    RunningService,
    ServiceStarter,
)
from tests.support.waiting import eventually

from jettythunder import outbox
from jettythunder.broker import topology
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.event_log import EventFilter
from jettythunder.broker.publisher import Publisher, envelope
from jettythunder.broker.subscribers import consumes, make_broker, of_type
from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.contracts.envelope import Event
from jettythunder.database import Database
from jettythunder.errors import AccountNotFound
from jettythunder.settings import BrokerSettings
from operations.assembly import Operations, open_operations
from operations.dead_letters import DeadLetter
from usage_meter.messages import USAGE_METER_EVENTS

QUEUE = USAGE_METER_EVENTS
SOURCE = "/test"

OPERATOR = "tester"
# Named tokens of the operations service, and what they are good for.
TOKENS = {name: f"token-of-{name}" for name in ("watcher", "reader", "writer")}
SCOPES = {"watcher": "metrics:read", "reader": "ops:read", "writer": "ops:read+ops:write"}
# Where nothing listens.
NOWHERE = "http://127.0.0.1:9"

Handler = Callable[[Event[AssetDeletedV1]], Awaitable[None]]


def deleted(account_id: UUID | None = None, *, size_bytes: int = 1) -> AssetDeletedV1:
    """An event that the consumer under test takes."""
    return AssetDeletedV1(
        account_id=account_id or uuid4(), asset_id=uuid4(), size_bytes=size_bytes, reason="request"
    )


def of(event_ids: list[UUID]) -> EventFilter:
    """These events, and not those that other tests left in the log."""
    return EventFilter(ids=tuple(map(str, event_ids)))


async def refuse(_: Event[AssetDeletedV1]) -> None:
    """A handler that fails for good."""
    raise AccountNotFound


@dataclass
class Bench:
    """A consumer of the usage-meter's queue whose handler each test gives, and what surrounds it."""

    environment: Mapping[str, str]
    database: Database
    sql: asyncpg.Connection[asyncpg.Record]
    operations: Operations
    publisher: Publisher
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

    async def publish_events(self, *payloads: AssetDeletedV1) -> list[UUID]:
        """Publish events, as relays do; their ids."""
        events = [envelope(payload, exchange=topology.EVENTS, source=SOURCE) for payload in payloads]
        for event in events:
            await self.publish_event(event)
        return [event.id for event in events]

    async def publish_event(self, event: Event[Any]) -> None:
        """Publish one event."""
        await self.publisher.publish(
            event.encode(),
            exchange=topology.EVENTS,
            routing_key=event.type,
            event_type=event.type,
            message_id=str(event.id),
        )

    async def publish(self, body: object, *, message_id: str | None = None, **properties: Any) -> str:
        """Publish a message as somebody else would: any body, under the type that the consumer takes."""
        identity = message_id or str(uuid4())
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        message = aio_pika.Message(content, message_id=identity, type=AssetDeletedV1.TYPE, **properties)
        exchange = await self.channel.get_exchange(topology.EVENTS, ensure=False)
        await exchange.publish(message, AssetDeletedV1.TYPE)
        return identity

    async def dead_ids(self) -> list[str]:
        """The ids of the dead letters, in their order."""
        return [letter.message_id async for letter in self.operations.dead_letters.letters(QUEUE.name)]

    async def dead_letters(self, count: int) -> list[DeadLetter]:
        """Wait for this many dead letters."""
        letters: list[DeadLetter] = []

        async def found() -> bool:
            letters[:] = [each async for each in self.operations.dead_letters.letters(QUEUE.name)]
            assert len(letters) == count, letters
            return True

        await eventually(found, timeout_seconds=60, poll_seconds=0.2)
        return letters

    async def processed(self, count: int) -> list[UUID]:
        """Events that were published, logged and processed."""
        event_ids = await self.publish_events(*(deleted() for _ in range(count)))
        await eventually(lambda: set(self.ids()) >= set(event_ids))
        return event_ids

    async def forget(self, event_ids: Sequence[UUID]) -> None:
        """Let the consumer not have processed these events."""
        await self.sql.execute("DELETE FROM inbox WHERE event_id = ANY ($1)", event_ids)

    async def found(self, wanted: EventFilter) -> list[UUID]:
        """The ids of the wanted events in the log."""
        events = self.operations.events.tail(wanted, start="first", follow=False)
        return [UUID(event.event["id"]) async for event in events if event.event is not None]

    async def declare(self) -> None:
        """Declare the consumer's queues."""
        await topology.declare_queue(self.channel, QUEUE)

    def ids(self) -> list[UUID]:
        return [event.id for event in self.seen]


@contextlib.asynccontextmanager
async def opened_bench(infrastructure: Infrastructure) -> AsyncIterator[Bench]:
    """Empty tables and queues, and the consumer, running."""
    url = infrastructure.rabbitmq_url
    bench: Bench
    router = RabbitRouter()
    subscriber = router.subscriber(**consumes(QUEUE, prefetch=50))

    @subscriber(filter=of_type(AssetDeletedV1))
    async def on_deleted(event: Event[AssetDeletedV1]) -> None:
        await bench.on_deleted(event)

    database = Database(infrastructure.database_url, name="test", role="jettythunder_usage_meter")
    await database.open()
    link = BrokerLink(url, name="test publisher")
    publisher = Publisher(link)
    broker = make_broker(url, publisher, [router], retry_delays_ms=())
    sql = await asyncpg.connect(infrastructure.database_url)
    try:
        async with (
            open_operations(infrastructure.database_url, BrokerSettings(rabbitmq_url=url)) as operations,
            await aio_pika.connect(url) as connection,
        ):
            channel = await connection.channel(publisher_confirms=True)
            await sql.execute("TRUNCATE inbox, replays, ops_audit")
            for name in (QUEUE.name, QUEUE.dead_letter_queue):
                await (await channel.declare_queue(name, passive=True)).purge()
            bench = Bench(infrastructure.environment, database, sql, operations, publisher, channel)
            await broker.start()
            yield bench
    finally:
        await broker.drain()
        await broker.stop()
        await link.close()
        await sql.close()
        await database.close()


@pytest.fixture(scope="package")
def servers(idle_servers: IdleServers) -> Iterator[Infrastructure]:
    """Servers of this package's own: its consumer must not share queues with the session's services."""
    with idle_servers.borrowed() as borrowed:
        yield borrowed


@pytest.fixture(scope="package")
def service(servers: Infrastructure, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The operations service."""
    starter = ServiceStarter(servers, tmp_path_factory.mktemp("service"))
    tokens = ",".join(f"{name}:{SCOPES[name]}:{token}" for name, token in TOKENS.items())
    yield starter("operations", {"JETTYTHUNDER_OPS_TOKENS": tokens})
    starter.end()


@pytest_asyncio.fixture
async def bench(servers: Infrastructure) -> AsyncIterator[Bench]:
    async with opened_bench(servers) as opened:
        yield opened


@pytest_asyncio.fixture
async def admin(service: RunningService, servers: Infrastructure) -> AsyncIterator[httpx.AsyncClient]:
    """The service's API, as operators call it."""
    async with httpx.AsyncClient(
        base_url=f"{service.url}/admin",
        headers={"Authorization": f"Bearer {servers.environment['JETTYTHUNDER_OPS_TOKEN']}"},
        timeout=60,
        trust_env=False,
    ) as client:
        yield client


@pytest.fixture(params=["service", "direct"])
def commands_environment(request: pytest.FixtureRequest, servers: Infrastructure) -> Mapping[str, str]:
    """The environment of commands: with the service's address, or with one where nothing listens."""
    url = request.getfixturevalue("service").url if request.param == "service" else NOWHERE
    return {**servers.environment, "JETTYTHUNDER_OPERATIONS_URL": url}
