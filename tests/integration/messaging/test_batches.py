"""Messages that are applied in batches: one that fails does so alone, and none is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aio_pika
import aiormq
import pytest_asyncio
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from tests.integration.messaging.conftest import RETRY_DELAYS_SECONDS, settings_for
from tests.support.infrastructure import Infrastructure
from tests.support.raw_amqp import BAD_PROPERTIES
from tests.support.waiting import eventually

from jettythunder.broker.batches import BatchConsumer
from jettythunder.broker.connection import BrokerLink, declare_topology
from jettythunder.broker.publisher import Publisher, envelope
from jettythunder.broker.settling import ATTEMPTS, ERROR_CODE, ERROR_TYPE
from jettythunder.broker.topology import EVENTS, ConsumerQueue
from jettythunder.contracts.envelope import Event
from jettythunder.contracts.quota import QuotaRestoredV1
from jettythunder.errors import BrokerUnavailable, DatabaseTimedOut, DatabaseUnavailable

UNLUCKY = 13
BATCH_SIZE = 100


class BlockedPublisher(Publisher):
    """One that publishes nothing while it is blocked."""

    def __init__(self, link: BrokerLink) -> None:
        super().__init__(link)
        self.is_blocked = False
        self.refused = 0

    async def publish(self, *args: Any, **options: Any) -> None:
        if self.is_blocked:
            self.refused += 1
            raise BrokerUnavailable
        await super().publish(*args, **options)


@dataclass
class Batches:
    """A consumer of batches on a queue of its own, whose way to apply them each test gives."""

    queue: ConsumerQueue
    channel: AbstractChannel
    publisher: BlockedPublisher
    consumer: BatchConsumer[int]
    url: str
    applied: list[int] = field(default_factory=list)
    apply: Callable[[Sequence[int]], Awaitable[None]] | None = None

    async def send(self, *numbers: int) -> list[str]:
        """Publish an event for each number; their ids."""
        exchange = await self.channel.get_exchange(EVENTS, ensure=False)
        ids = []
        for number in numbers:
            payload = QuotaRestoredV1(
                account_id=uuid4(), resource="storage", used_bytes=number, quota_bytes=100
            )
            event = envelope(payload, exchange=EVENTS, source="/test")
            message = aio_pika.Message(event.encode(), message_id=str(event.id), type=event.type)
            await exchange.publish(message, event.type)
            ids.append(str(event.id))
        return ids

    async def dead_letter(self) -> AbstractIncomingMessage:
        """Wait for one, and take it out."""
        dead = await self.channel.declare_queue(self.queue.dead_letter_queue, passive=True)

        async def found() -> AbstractIncomingMessage | None:
            return await dead.get(no_ack=True, fail=False)

        message = await eventually(found, timeout_seconds=30)
        assert isinstance(message, AbstractIncomingMessage)
        return message

    async def consumes(self) -> bool:
        """Whether it says so."""
        try:
            await self.consumer.ping()
        except BrokerUnavailable:
            return False
        return True


@pytest_asyncio.fixture
async def batches(servers: Infrastructure) -> AsyncIterator[Batches]:
    async with opened_batches(servers) as opened:
        yield opened


@contextlib.asynccontextmanager
async def opened_batches(
    infrastructure: Infrastructure, *, batch_size: int = BATCH_SIZE, linger_seconds: float = 0.05
) -> AsyncIterator[Batches]:
    settings = settings_for(infrastructure)
    queue = ConsumerQueue(name=f"test-{uuid4().hex}.events", exchange=EVENTS, payloads=[QuotaRestoredV1])
    await declare_topology(settings, [queue])
    link = BrokerLink(infrastructure.rabbitmq_url, name="batches test")
    publisher = BlockedPublisher(link)
    opened: Batches

    async def apply(items: Sequence[int]) -> None:
        if opened.apply is not None:
            await opened.apply(items)
        opened.applied.extend(items)

    def parse(event: Event[QuotaRestoredV1]) -> int:
        if event.data.used_bytes == -UNLUCKY:
            raise RuntimeError("unlucky")
        return event.data.used_bytes

    consumer = BatchConsumer(
        infrastructure.rabbitmq_url,
        publisher,
        queue=queue,
        apply=apply,
        batch_size=batch_size,
        linger_seconds=linger_seconds,
        retry_delays_ms=settings.retry_delays_ms,
    )
    consumer.on(QuotaRestoredV1, parse)
    async with await aio_pika.connect(infrastructure.rabbitmq_url) as connection:
        channel = await connection.channel(publisher_confirms=True)
        opened = Batches(queue, channel, publisher, consumer, infrastructure.rabbitmq_url)
        consumer.start()
        await eventually(opened.consumes)
        try:
            yield opened
        finally:
            await consumer.close(timeout_seconds=5)
            await link.close()
            for name in (queue.name, queue.dead_letter_queue):
                await channel.queue_delete(name)


async def test_a_message_that_breaks_its_parser_is_set_aside_and_harms_no_other(batches: Batches) -> None:
    ids = await batches.send(11, 12, -UNLUCKY, 14, 15)
    letter = await batches.dead_letter()
    assert letter.message_id == ids[2]
    assert letter.headers[ERROR_TYPE] == "builtins.RuntimeError"
    await eventually(lambda: sorted(batches.applied) == [11, 12, 14, 15])


async def test_good_messages_go_on_while_failed_ones_wait_for_the_broker(batches: Batches) -> None:
    batches.publisher.is_blocked = True
    await batches.send(1, 2, -UNLUCKY, 3)
    await eventually(lambda: batches.publisher.refused >= 2, timeout_seconds=20)
    for number in range(4, 30):
        await batches.send(number)
    await eventually(lambda: len(batches.applied) == 29)
    batches.publisher.is_blocked = False
    assert (await batches.dead_letter()).headers[ERROR_TYPE] == "builtins.RuntimeError"
    # None of them was delivered twice, so none comes nearer to its delivery limit.
    assert Counter(batches.applied) == Counter(range(1, 30))


async def test_failed_ones_are_not_acknowledged_with_those_after_them(
    batches: Batches, servers: Infrastructure
) -> None:
    batches.publisher.is_blocked = True
    [unlucky] = await batches.send(-UNLUCKY)
    await eventually(lambda: batches.publisher.refused >= 1, timeout_seconds=20)
    await batches.send(1)
    await eventually(lambda: batches.applied == [1])
    # The process ends before the broker takes the copy: the message is still in its queue.
    await batches.consumer.close(timeout_seconds=0.1)
    queue = await batches.channel.declare_queue(batches.queue.name, passive=True)

    async def back() -> AbstractIncomingMessage | None:
        return await queue.get(no_ack=True, fail=False)

    message = await eventually(back, timeout_seconds=20)
    assert message.message_id == unlucky


async def test_the_first_waits_for_others_until_the_batch_is_full(servers: Infrastructure) -> None:
    taken: list[Sequence[int]] = []

    async def note(numbers: Sequence[int]) -> None:
        taken.append(numbers)

    async with opened_batches(servers, batch_size=3, linger_seconds=300) as batches:
        batches.apply = note
        await batches.send(1)
        await eventually(lambda: taken or batches.consumer.unapplied)
        await batches.send(2, 3)
        await eventually(lambda: taken)
    assert taken == [[1, 2, 3]]


async def test_it_is_behind_while_its_batches_are_full(batches: Batches) -> None:
    released = asyncio.Event()
    behind: list[bool] = []

    async def wait(_: Sequence[int]) -> None:
        behind.append(batches.consumer.is_behind)
        await released.wait()

    batches.apply = wait
    await batches.send(0)
    await eventually(lambda: behind == [False])
    await batches.send(*range(1, BATCH_SIZE + 2))
    await eventually(lambda: batches.consumer.unapplied == BATCH_SIZE + 2)
    released.set()
    await eventually(lambda: len(batches.applied) == BATCH_SIZE + 2)
    assert behind == [False, True, False]


async def test_a_queue_that_is_made_anew_is_consumed_anew(batches: Batches, servers: Infrastructure) -> None:
    await batches.send(1)
    await eventually(lambda: batches.applied == [1])
    await batches.channel.queue_delete(batches.queue.name)

    async def is_cancelled() -> bool:
        return not await batches.consumes()

    await eventually(is_cancelled)
    await declare_topology(settings_for(servers), [batches.queue])
    await eventually(batches.consumes, timeout_seconds=20)
    await batches.send(2)
    await eventually(lambda: batches.applied == [1, 2])


async def test_a_batch_is_held_while_the_database_cannot_be_reached(batches: Batches) -> None:
    failures = [DatabaseUnavailable() for _ in range(3)]

    async def fail_at_first(_: Sequence[int]) -> None:
        if failures:
            raise failures.pop()

    batches.apply = fail_at_first
    await batches.send(1, 2, 3)
    await eventually(lambda: sorted(batches.applied) == [1, 2, 3], timeout_seconds=20)
    assert failures == []


async def test_a_message_whose_statement_times_out_does_so_alone(batches: Batches) -> None:
    async def time_out(items: Sequence[int]) -> None:
        if UNLUCKY in items:
            raise DatabaseTimedOut

    batches.apply = time_out
    ids = await batches.send(*range(10, 20))
    letter = await batches.dead_letter()
    assert letter.message_id == ids[3]
    assert (letter.headers[ERROR_CODE], letter.headers[ATTEMPTS]) == (
        "database_timed_out",
        len(RETRY_DELAYS_SECONDS) + 1,
    )
    await eventually(lambda: sorted(batches.applied) == [10, 11, 12, 14, 15, 16, 17, 18, 19])


async def test_properties_that_cannot_be_decoded_cost_one_message(batches: Batches) -> None:
    await batches.send(1, 2)
    connection = await aiormq.connect(batches.url)
    channel = await connection.channel()
    for _, properties in BAD_PROPERTIES:
        await channel.basic_publish(
            b"{}", exchange=EVENTS, routing_key=QuotaRestoredV1.TYPE, properties=properties
        )
    await connection.close()
    await batches.send(3)
    for _ in BAD_PROPERTIES:
        letter = await batches.dead_letter()
        assert (letter.message_id, letter.headers[ERROR_CODE]) == ("poison", "malformed_event")
    await eventually(lambda: batches.applied == [1, 2, 3])
