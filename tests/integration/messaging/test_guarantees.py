"""What every handler is given, whatever is sent to it and whatever fails: no message is left, none lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import uuid4

import aio_pika
import aiormq
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from faststream import Context
from faststream.rabbit import RabbitRouter
from prometheus_client import REGISTRY
from pydantic import BaseModel
from tests.integration.messaging.conftest import (
    QUEUE,
    RETRY_DELAYS_SECONDS,
    Bench,
    deleted,
    logged,
    settings_for,
)
from tests.support.infrastructure import Infrastructure
from tests.support.raw_amqp import BAD_PROPERTIES, RawProperties, publish_raw
from tests.support.waiting import eventually

from jettythunder.broker import topology
from jettythunder.broker.connection import BrokerLink, declare_topology
from jettythunder.broker.publisher import Publisher, envelope
from jettythunder.broker.settling import ATTEMPTS, ERROR_CODE, ERROR_MESSAGE, FIRST_FAILED_AT
from jettythunder.broker.subscribers import ServiceBroker, consumes, make_broker, of_type
from jettythunder.broker.topology import COMMANDS, EVENTS, ConsumerQueue
from jettythunder.contracts.assets import AssetDeletedV1, AssetStreamedV1
from jettythunder.contracts.envelope import Event, Payload
from jettythunder.errors import (
    AccountNotFound,
    BrokerUnavailable,
    DatabaseUnavailable,
    JettyThunderError,
    StorageUnavailable,
)
from operations.dead_letters import Selection
from usage_meter.messages import USAGE_METER_WEBHOOKS

WHO = "tester"


class Answer(BaseModel):
    """What the handler under test answers."""

    secret: str = "s3cr3t"


class UnsteadyPublisher(Publisher):
    """One that can't publish the next few times."""

    def __init__(self, link: BrokerLink) -> None:
        super().__init__(link)
        self.failures: list[Exception] = []

    async def publish(self, *args: Any, **options: Any) -> None:
        if self.failures:
            raise self.failures.pop(0)
        await super().publish(*args, **options)


@dataclass
class OwnConsumer:
    """A consumer of a queue of its own, and its publishers' end."""

    queue: ConsumerQueue
    channel: AbstractChannel
    publisher: UnsteadyPublisher
    broker: ServiceBroker
    may_finish: asyncio.Event = field(default_factory=asyncio.Event)
    handled: list[Event[Any]] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    async def handle(self, event: Event[Any]) -> Answer:
        self.handled.append(event)
        await self.may_finish.wait()
        if self.failures:
            raise self.failures.pop(0)
        return Answer()

    async def send(
        self,
        payload: Payload,
        *,
        exchange: str | None = None,
        routing_key: str | None = None,
        **properties: Any,
    ) -> str:
        """Publish an event; its id."""
        event = envelope(payload, exchange=EVENTS, source="/test")
        message = aio_pika.Message(event.encode(), message_id=str(event.id), **properties)
        target = await self.channel.get_exchange(
            self.queue.exchange if exchange is None else exchange, ensure=False
        )
        await target.publish(message, routing_key or event.type)
        return str(event.id)

    async def replies(self) -> aio_pika.abc.AbstractQueue:
        """A private queue, as AgentCache's are named."""
        name = f"agentcache.replies.{uuid4().hex}"
        return await self.channel.declare_queue(name, exclusive=True)

    async def dead(self) -> list[AbstractIncomingMessage]:
        """The dead letters, which are taken out."""
        queue = await self.channel.declare_queue(self.queue.dead_letter_queue, passive=True)
        found = []
        while (message := await queue.get(fail=False, no_ack=True)) is not None:
            found.append(message)
        return found

    async def waiting(self) -> int:
        """How many messages are in the queue and not with the consumer."""
        queue = await self.channel.declare_queue(self.queue.name, passive=True)
        return int(queue.declaration_result.message_count or 0)


Handle = Annotated[OwnConsumer, Context("consumer")]


@contextlib.asynccontextmanager
async def opened_consumer(
    infrastructure: Infrastructure,
    exchange: str = EVENTS,
    *,
    bound: Sequence[type[Payload]] = (AssetDeletedV1,),
) -> AsyncIterator[OwnConsumer]:
    """A consumer that knows AssetDeletedV1, of a queue that is bound to ``bound``."""
    settings = settings_for(infrastructure)
    queue = ConsumerQueue(name=f"test-{uuid4().hex}.events", exchange=exchange, payloads=[AssetDeletedV1])
    await declare_topology(
        settings, [ConsumerQueue(name=queue.name, exchange=queue.exchange, payloads=bound)]
    )
    router = RabbitRouter()
    subscriber = router.subscriber(**consumes(queue, prefetch=10))

    @subscriber(filter=of_type(AssetDeletedV1))
    async def on_deleted(event: Event[AssetDeletedV1], consumer: Handle) -> Answer:
        return await consumer.handle(event)

    link = BrokerLink(infrastructure.rabbitmq_url, name="consumer")
    publisher = UnsteadyPublisher(link)
    broker = make_broker(
        infrastructure.rabbitmq_url,
        publisher,
        [router],
        retry_delays_ms=settings.retry_delays_ms,
    )
    async with await aio_pika.connect(infrastructure.rabbitmq_url) as connection:
        consumer = OwnConsumer(queue, await connection.channel(), publisher, broker)
        consumer.may_finish.set()
        broker.context.set_global("consumer", consumer)
        await broker.start()
        try:
            yield consumer
        finally:
            await broker.drain()
            await broker.stop()
            await link.close()
            for each in (queue.name, queue.dead_letter_queue):
                await consumer.channel.queue_delete(each)


async def first(find: Callable[[], Awaitable[Sequence[Any]]]) -> Any:
    """Wait for the only one."""
    found: list[Any] = []

    async def one() -> bool:
        found.extend(await find())
        return bool(found)

    await eventually(one, timeout_seconds=30)
    [only] = found
    return only


async def test_a_reply_that_cannot_be_published_brings_the_message_back(
    servers: Infrastructure,
) -> None:
    async with opened_consumer(servers) as consumer:
        replies = await consumer.replies()
        consumer.publisher.failures = [BrokerUnavailable(), ValueError("not an AMQP value")]
        sent = await consumer.send(deleted(), reply_to=replies.name)

        async def answered() -> list[Any]:
            message = await replies.get(fail=False, no_ack=True)
            return [] if message is None else [message]

        reply = await first(answered)
        assert (reply.correlation_id, json.loads(reply.body)) == (sent, {"secret": "s3cr3t"})
        assert [str(event.id) for event in consumer.handled] == [sent] * 3


async def test_a_copy_that_cannot_be_published_brings_the_message_back(
    servers: Infrastructure,
) -> None:
    async with opened_consumer(servers) as consumer:
        consumer.failures = [AccountNotFound(), AccountNotFound()]
        consumer.publisher.failures = [BrokerUnavailable()]
        sent = await consumer.send(deleted())
        dead = await first(consumer.dead)
        assert (dead.message_id, dead.headers[ERROR_CODE]) == (sent, "account_not_found")


async def test_a_reply_goes_to_no_queue_but_the_callers_own(
    servers: Infrastructure,
) -> None:
    async with opened_consumer(servers) as consumer:
        others = await consumer.channel.declare_queue(f"somebody-elses-{uuid4().hex}", exclusive=True)
        await consumer.send(deleted(), reply_to=others.name)
        replies = await consumer.replies()
        await consumer.send(deleted(), reply_to=replies.name)

        async def answered() -> list[Any]:
            message = await replies.get(fail=False, no_ack=True)
            return [] if message is None else [message]

        await first(answered)
        await eventually(lambda: len(consumer.handled) == 2)
        assert await others.get(fail=False) is None


async def test_a_commands_caller_gets_its_failure(servers: Infrastructure) -> None:
    async with opened_consumer(servers, COMMANDS) as consumer:
        consumer.failures = [AccountNotFound()]
        replies = await consumer.replies()
        await consumer.send(deleted(), reply_to=replies.name)

        async def answered() -> list[Any]:
            message = await replies.get(fail=False, no_ack=True)
            return [] if message is None else [message]

        denied = json.loads((await first(answered)).body)
        assert (denied["outcome"], denied["code"]) == ("denied", "account_not_found")
        assert await consumer.dead() == []


@pytest.mark.parametrize("nonsense", ["x", -5, 10**12, "-1", 3])
async def test_attempts_that_others_claim_do_not_count(servers: Infrastructure, nonsense: object) -> None:
    async with opened_consumer(servers) as consumer:
        consumer.failures = [StorageUnavailable() for _ in range(20)]
        await consumer.send(deleted(), headers={ATTEMPTS: nonsense})
        dead = await first(consumer.dead)
        assert dead.headers[ATTEMPTS] == len(RETRY_DELAYS_SECONDS) + 1


async def test_malformed_messages_with_nonsense_headers_stop_nobody(bench: Bench) -> None:
    for _ in range(60):
        await bench.publish(b"no json", headers={ATTEMPTS: "x"})
    [good] = await bench.commit(deleted())
    await eventually(lambda: bench.ids() == [good])
    await bench.dead_letters(60)


async def test_an_outage_of_the_database_makes_no_dead_letter(
    servers: Infrastructure,
) -> None:
    async with opened_consumer(servers) as consumer:
        # More often than there are attempts.
        consumer.failures = [DatabaseUnavailable() for _ in range(2 * (len(RETRY_DELAYS_SECONDS) + 3))]
        sent = await consumer.send(deleted())
        await eventually(lambda: not consumer.failures and len(consumer.handled) % 2 == 1, timeout_seconds=30)
        assert {str(event.id) for event in consumer.handled} == {sent}
        assert await consumer.dead() == []


async def test_a_message_of_a_newer_version_waits_for_it(servers: Infrastructure) -> None:
    newer = (AssetDeletedV1, AssetStreamedV1)
    streamed = AssetStreamedV1(account_id=uuid4(), asset_id=uuid4(), reservation_id=uuid4(), sent_bytes=1)
    async with opened_consumer(servers, bound=newer) as consumer:
        unknown = {"queue": consumer.queue.name, "type": "unknown", "outcome": "waiting"}
        sent = await consumer.send(streamed)
        waited = "jettythunder_messages_total"
        await eventually(lambda: (REGISTRY.get_sample_value(waited, unknown) or 0) >= 2, timeout_seconds=30)
        assert await consumer.dead() == []
        # A day later nobody has taken it.
        long_ago = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
        old = await consumer.send(
            streamed, exchange="", routing_key=consumer.queue.name, headers={FIRST_FAILED_AT: long_ago}
        )
        dead = await first(consumer.dead)
        assert (dead.message_id, dead.headers[ERROR_CODE]) == (old, "unknown_event_type")
        assert old != sent


async def test_a_message_under_another_types_key_is_malformed(
    servers: Infrastructure,
) -> None:
    newer = (AssetDeletedV1, AssetStreamedV1)
    async with opened_consumer(servers, bound=newer) as consumer:
        await consumer.send(deleted(), routing_key=AssetStreamedV1.TYPE)
        dead = await first(consumer.dead)
        assert (dead.headers[ERROR_CODE], dead.headers[ATTEMPTS]) == ("malformed_event", 1)
        assert "is not its routing key" in str(dead.headers[ERROR_MESSAGE])
        assert consumer.handled == []


async def test_no_value_of_a_malformed_message_is_shown(servers: Infrastructure) -> None:
    async with opened_consumer(servers) as consumer:
        body = envelope(deleted(), exchange=EVENTS, source="/test").model_dump(mode="json")
        body["data"]["size_bytes"] = "jts_secret"
        exchange = await consumer.channel.get_exchange(EVENTS, ensure=False)
        await exchange.publish(aio_pika.Message(json.dumps(body).encode()), AssetDeletedV1.TYPE)
        dead = await first(consumer.dead)
        assert "data.size_bytes" in str(dead.headers[ERROR_MESSAGE])
        assert "jts_secret" not in str(dead.headers)


async def test_a_dead_letter_that_is_retried_answers_nobody(bench: Bench) -> None:
    async def refuse(_: Event[AssetDeletedV1]) -> None:
        raise AccountNotFound

    bench.handler = refuse
    event = envelope(deleted(), exchange=EVENTS, source="/test")
    seen: list[str | None] = []
    await bench.publish(
        event.model_dump(mode="json"), message_id=str(event.id), reply_to="agentcache.replies.gone"
    )
    await bench.dead_letters(1)
    queue = await bench.channel.declare_queue(f"tap-{uuid4().hex}", exclusive=True)
    await queue.bind(QUEUE.replay_exchange)

    async def tap(message: AbstractIncomingMessage) -> None:
        seen.append(message.reply_to)

    await queue.consume(tap, no_ack=True)
    bench.handler = None
    assert await bench.operations.dead_letters.retry(Selection(consumer=QUEUE.name), who=WHO) == 1
    await eventually(lambda: bench.ids() == [event.id] and seen == [None])


@pytest.mark.parametrize(("named", "properties"), BAD_PROPERTIES)
async def test_properties_that_cannot_be_decoded_cost_one_message(
    bench: Bench, servers: Infrastructure, named: str, properties: RawProperties
) -> None:
    good = await bench.commit(*(deleted() for _ in range(10)))
    event = envelope(deleted(), exchange=EVENTS, source="/test")
    await publish_raw(
        servers.rabbitmq_url,
        properties,
        exchange=EVENTS,
        routing_key=AssetDeletedV1.TYPE,
        body=event.encode(),
    )
    good += await bench.commit(*(deleted() for _ in range(10)))
    [letter] = await bench.dead_letters(1)
    assert (letter.message_id, letter.error_code, letter.attempts) == ("poison", "malformed_event", 1)
    assert named in letter.error_message
    await eventually(lambda: sorted(bench.ids()) == sorted(good))
    shown = await bench.operations.events.show(event.id)
    assert (shown.message_id, shown.event is not None and shown.event["id"]) == ("poison", str(event.id))
    # Ops may decide that its body is good.
    assert await bench.operations.dead_letters.retry(Selection(ids=("poison",)), who=WHO) == 1
    await eventually(lambda: event.id in bench.ids())
    await bench.dead_letters(0)


async def test_dead_letters_that_cannot_be_decoded_are_worked_on(
    bench: Bench, servers: Infrastructure
) -> None:
    event = envelope(deleted(), exchange=EVENTS, source="/test")
    for _, properties in BAD_PROPERTIES:
        await publish_raw(
            servers.rabbitmq_url,
            properties,
            exchange=topology.DEAD_LETTERS,
            routing_key=QUEUE.name,
            body=event.encode(),
        )
    letters = bench.operations.dead_letters
    assert len(await bench.dead_letters(len(BAD_PROPERTIES))) == len(BAD_PROPERTIES)
    assert (await letters.fetch("poison")).consumer == QUEUE.name
    assert await letters.retry(Selection(consumer=QUEUE.name), who=WHO) == len(BAD_PROPERTIES)
    await eventually(lambda: bench.ids() == [event.id])
    await bench.dead_letters(0)


async def test_a_routing_key_that_cannot_be_decoded_does_not_stop_readers_of_the_log(
    bench: Bench, servers: Infrastructure
) -> None:
    class RawKey(str):
        __slots__ = ()

        def encode(self, *_: object, **__: object) -> bytes:
            return b"\xff\xfe"

    connection = await aiormq.connect(servers.rabbitmq_url)
    channel = await connection.channel()
    await channel.basic_publish(b"{}", exchange=EVENTS, routing_key=RawKey("raw"))
    await connection.close()
    [good] = await bench.commit(deleted())
    await eventually(lambda: bench.ids() == [good])
    assert "\ufffd\ufffd" in [entry.routing_key for entry in await logged(servers)]
    assert (await bench.operations.events.show(good)).event is not None


async def test_a_service_declares_no_queue_of_another(bench: Bench, servers: Infrastructure) -> None:
    settings = settings_for(servers)
    webhooks = await bench.channel.declare_queue(USAGE_METER_WEBHOOKS.name, passive=True)
    await webhooks.purge()
    [payload, *_] = USAGE_METER_WEBHOOKS.payloads
    await webhooks.unbind(USAGE_METER_WEBHOOKS.exchange, payload.TYPE)
    try:
        [own] = [queue for queue in topology.consumer_queues() if queue.name == "provisioning.commands"]
        await declare_topology(settings, [own])
        exchange = await bench.channel.get_exchange(EVENTS, ensure=False)
        await exchange.publish(aio_pika.Message(b"{}"), payload.TYPE)
        assert await logged(servers) != []
        assert await webhooks.get(fail=False) is None
    finally:
        await declare_topology(settings, topology.consumer_queues())
    await exchange.publish(aio_pika.Message(b"{}"), payload.TYPE)
    taken = await webhooks.get(no_ack=True)
    assert taken is not None


async def test_an_unexpected_failure_says_no_more_to_a_caller(
    servers: Infrastructure,
) -> None:
    async with opened_consumer(servers, COMMANDS) as consumer:
        consumer.failures = [KeyError("jts_secret"), KeyError("jts_secret")]
        replies = await consumer.replies()
        await consumer.send(deleted(), reply_to=replies.name)

        async def answered() -> list[Any]:
            message = await replies.get(fail=False, no_ack=True)
            return [] if message is None else [message]

        denied = json.loads((await first(answered)).body)
        assert denied["code"] == JettyThunderError.code
        assert "jts_secret" not in str(denied)


async def test_a_consumer_that_is_drained_finishes_what_it_has_begun_and_hands_back_the_rest(
    servers: Infrastructure,
) -> None:
    async with opened_consumer(servers) as consumer:
        consumer.may_finish.clear()
        begun = {await consumer.send(deleted()) for _ in range(3)}
        await eventually(lambda: len(consumer.handled) == 3)
        draining = asyncio.create_task(consumer.broker.drain())
        # Some arrive before the broker has cancelled the consumer, the others after.
        others = {await consumer.send(deleted()) for _ in range(20)}

        async def are_back() -> bool:
            return await consumer.waiting() == len(others)

        await eventually(are_back)
        assert not draining.done()
        consumer.may_finish.set()
        await draining
        assert {str(event.id) for event in consumer.handled} == begun
        assert await consumer.waiting() == len(others)


async def test_what_a_drained_consumer_does_not_finish_in_time_goes_back(servers: Infrastructure) -> None:
    async with opened_consumer(servers) as consumer:
        consumer.may_finish.clear()
        await consumer.send(deleted())
        await eventually(lambda: consumer.handled)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await consumer.broker.drain()

        async def is_back() -> bool:
            return await consumer.waiting() == 1

        await eventually(is_back)
        consumer.may_finish.set()


async def test_an_event_log_with_other_bounds_is_not_to_be_deleted(infrastructure: Infrastructure) -> None:
    settings = settings_for(infrastructure)
    other = settings.model_copy(update={"event_log_max_bytes": settings.event_log_max_bytes + 1})
    await declare_topology(settings, [])
    with pytest.raises(SystemExit, match="change them by a policy"):
        await declare_topology(other, [])
