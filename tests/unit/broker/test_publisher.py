"""A batch is published in one go, and is done when the broker has confirmed each of its messages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import aiormq
import pytest
import pytest_asyncio
from aiormq.channel import Channel
from pamqp import commands
from tests.support.scripted_broker import (
    FRAME_MAX_BYTES,
    Answer,
    Published,
    ScriptedBroker,
    always_ack,
    scripted_broker,
)
from tests.support.waiting import eventually

from jettythunder.broker.confirms import Message, publish_confirmed
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher, Unroutable
from jettythunder.errors import BrokerUnavailable


@dataclass
class Bench:
    """A publisher, and the broker it publishes to."""

    broker: ScriptedBroker
    link: BrokerLink
    publisher: Publisher

    def answer(self, answer: Answer, *, to: Message) -> None:
        """Have the broker answer one message so, and confirm the others."""
        self.broker.answer = lambda message: answer if message.message_id == to.message_id else "ack"


@contextlib.asynccontextmanager
async def opened_bench(
    *, timeout_seconds: float = 30, frame_max_bytes: int = FRAME_MAX_BYTES
) -> AsyncIterator[Bench]:
    async with scripted_broker(frame_max_bytes=frame_max_bytes) as broker:
        link = BrokerLink(broker.url, name="test")
        try:
            yield Bench(broker, link, Publisher(link, timeout_seconds=timeout_seconds))
        finally:
            await link.close()


@pytest_asyncio.fixture
async def bench() -> AsyncIterator[Bench]:
    async with opened_bench() as opened:
        yield opened


def message(body: bytes = b"{}", *, exchange: str = "events", **properties: Any) -> Message:
    return Message(
        body,
        exchange=exchange,
        routing_key="asset.deleted",
        event_type="asset.deleted",
        message_id=str(uuid4()),
        **properties,
    )


def ids(messages: list[Message]) -> list[str]:
    return [each.message_id for each in messages]


async def test_a_batch_arrives_in_its_order(bench: Bench) -> None:
    batch = [message(b"%d" % number) for number in range(500)]
    assert await bench.publisher.publish_all(batch) == set()
    assert [each.body for each in bench.broker.published] == [each.body for each in batch]
    assert bench.broker.message_ids == ids(batch)


async def test_an_empty_batch_is_published_without_a_broker() -> None:
    link = BrokerLink("amqp://127.0.0.1:1/", name="test")
    assert await Publisher(link).publish_all([]) == set()


async def test_messages_are_persistent_and_mandatory(bench: Bench) -> None:
    await bench.publisher.publish_all([message(), message(mandatory=False)])
    first, second = bench.broker.published
    assert (first.method.mandatory, second.method.mandatory) == (True, False)
    assert {first.header.properties.delivery_mode, second.header.properties.delivery_mode} == {2}


async def test_every_property_is_sent(bench: Bench) -> None:
    sent = message(
        headers={"x-attempts": 2, "x-error": "é"},
        reply_to="replies",
        correlation_id="c",
        expiration_seconds=1.5,
        content_type="application/json",
    )
    await bench.publisher.publish_all([sent])
    (arrived,) = bench.broker.published
    assert arrived.header.properties == commands.Basic.Properties(
        content_type="application/json",
        headers={"x-attempts": 2, "x-error": "é"},
        delivery_mode=2,
        correlation_id="c",
        reply_to="replies",
        expiration="1500",
        message_id=sent.message_id,
        message_type="asset.deleted",
    )


async def test_a_property_that_is_too_long_publishes_nothing(bench: Bench) -> None:
    with pytest.raises(TypeError, match="255 bytes"):
        await bench.publisher.publish_all([message(), message(reply_to="x" * 256)])
    assert await bench.publisher.publish_all([message()]) == set()
    assert len(bench.broker.published) == 1


@pytest.mark.parametrize("size_bytes", [0, 1, 20_000])
async def test_a_body_takes_one_frame_where_the_broker_has_no_limit(size_bytes: int) -> None:
    async with opened_bench(frame_max_bytes=0) as bench:
        await bench.publisher.publish_all([message(bytes(size_bytes)), message(b"next")])
        assert [len(each.body) for each in bench.broker.published] == [size_bytes, 4]
        assert len(bench.broker.published[0].frame_sizes) == min(size_bytes, 1)


@pytest.mark.parametrize("size_bytes", [0, 1, FRAME_MAX_BYTES - 8, FRAME_MAX_BYTES - 7, 20_000])
async def test_a_body_takes_as_many_frames_as_the_broker_allows(bench: Bench, size_bytes: int) -> None:
    large = message(bytes(index % 251 for index in range(size_bytes)))
    await bench.publisher.publish_all([large, message(b"next")])
    first, second = bench.broker.published
    assert first.body == large.body
    assert max(first.frame_sizes, default=0) <= FRAME_MAX_BYTES
    assert second.body == b"next"


async def test_confirms_of_several_messages_at_once_are_understood(bench: Bench) -> None:
    batch = [message() for _ in range(10)]
    bench.broker.answer = lambda each: "ack all" if each.message_id == batch[-1].message_id else "nothing"
    assert await bench.publisher.publish_all(batch) == set()


async def test_batches_at_once_are_confirmed_each_by_itself(bench: Bench) -> None:
    batches = [[message() for _ in range(20)] for _ in range(3)]
    bench.answer("return", to=batches[1][7])
    outcomes = await asyncio.gather(*map(bench.publisher.publish_all, batches))
    assert outcomes == [set(), {batches[1][7].message_id}, set()]
    arrived = bench.broker.message_ids
    for batch in batches:
        begin = arrived.index(batch[0].message_id)
        assert arrived[begin : begin + len(batch)] == ids(batch)


async def test_one_that_no_queue_takes_is_named_and_the_others_are_published(bench: Bench) -> None:
    batch = [message() for _ in range(5)]
    bench.answer("return", to=batch[2])
    assert await bench.publisher.publish_all(batch) == {batch[2].message_id}
    assert bench.broker.message_ids == ids(batch)


@pytest.mark.parametrize("message_id", ["", "m"])
async def test_a_single_one_that_no_queue_takes_is_an_error(bench: Bench, message_id: str) -> None:
    bench.broker.answer = lambda _: "return"
    with pytest.raises(Unroutable):
        await bench.publisher.publish(
            b"{}", exchange="", routing_key="nobody", event_type="t", message_id=message_id
        )


@pytest.mark.parametrize(("answer", "taken", "connections"), [("nack", 5, 1), ("hang up", 3, 2)])
async def test_a_refused_one_or_a_lost_connection_fails_the_batch_and_the_next_one_arrives(
    bench: Bench, answer: Answer, taken: int, connections: int
) -> None:
    batch = [message() for _ in range(5)]
    bench.answer(answer, to=batch[2])
    with pytest.raises(BrokerUnavailable):
        await bench.publisher.publish_all(batch)
    bench.broker.answer = always_ack
    assert await bench.publisher.publish_all(batch) == set()
    assert bench.broker.message_ids == [*ids(batch)[:taken], *ids(batch)]
    assert bench.broker.connections == connections


async def test_a_link_that_is_closed_meanwhile_fails_the_batch(bench: Bench) -> None:
    bench.broker.answer = lambda _: "nothing"
    publishing = asyncio.create_task(bench.publisher.publish_all([message()]))
    await eventually(lambda: bench.broker.published)
    await bench.link.close()
    with pytest.raises(BrokerUnavailable):
        await publishing


async def test_a_batch_without_confirms_times_out() -> None:
    async with opened_bench(timeout_seconds=0.05) as bench:
        await bench.publisher.connect()
        bench.broker.answer = lambda _: "nothing"
        with pytest.raises(BrokerUnavailable):
            await bench.publisher.publish_all([message(), message()])


async def test_late_confirms_of_a_batch_that_was_given_up_do_no_harm(bench: Bench) -> None:
    bench.broker.answer = lambda _: "nothing"
    given_up = asyncio.create_task(bench.publisher.publish_all([message(), message()]))
    await eventually(lambda: len(bench.broker.published) == 2)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    late = list(bench.broker.published)

    def confirm_late(_: Published) -> Answer:
        while late:
            bench.broker.confirm(late.pop(0))
        return "ack"

    bench.broker.answer = confirm_late
    assert await bench.publisher.publish_all([message(), message()]) == set()
    assert bench.broker.connections == 1


async def test_nothing_is_sent_while_the_broker_blocks_its_publishers() -> None:
    async with opened_bench(timeout_seconds=0.05) as bench:
        await bench.publisher.connect()
        bench.broker.send(commands.Connection.Blocked(reason="low on memory"), channel=0)
        bench.broker.answer = lambda _: "nothing"
        with pytest.raises(BrokerUnavailable):
            await bench.publisher.publish_all([message()])
        sent_count = len(bench.broker.published)
        for _ in range(3):
            with pytest.raises(BrokerUnavailable):
                await bench.publisher.publish_all([message()])
        assert len(bench.broker.published) == sent_count
        bench.broker.answer = always_ack
        bench.broker.send(commands.Connection.Unblocked(), channel=0)

        async def published() -> bool:
            with contextlib.suppress(BrokerUnavailable):
                return await bench.publisher.publish_all([message()]) == set()
            return False

        await eventually(published)


async def test_batches_and_the_librarys_own_messages_share_one_channel(bench: Bench) -> None:
    """Both count delivery tags and await confirms in the same books, which are empty in the end."""
    async with await aiormq.connect(bench.broker.url) as connection:
        channel = cast("Channel", await connection.channel())
        batch = [message() for _ in range(3)]
        bench.answer("return", to=batch[1])
        for round_ in range(3):
            assert await publish_confirmed(channel, batch) == {batch[1].message_id}
            assert await channel.basic_publish(b"{}", routing_key="own") is not None
            assert channel.delivery_tag == 4 * (round_ + 1)
        assert not channel.message_id_delivery_tag
        await eventually(lambda: not channel.confirmations)


async def test_a_batch_that_was_never_written_does_not_count(bench: Bench) -> None:
    async with await aiormq.connect(bench.broker.url) as connection:
        channel = cast("Channel", await connection.channel())
        async with channel.lock:
            given_up = asyncio.create_task(publish_confirmed(channel, [message()]))
            await asyncio.wait([given_up], timeout=0)
            given_up.cancel()
        await asyncio.gather(given_up, return_exceptions=True)
        assert channel.delivery_tag == 0
        assert await publish_confirmed(channel, [message()]) == set()
