"""A batch on a real broker: what it does not take, refuses, or takes only later."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

import aio_pika
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel, AbstractQueue
from tests.support.infrastructure import Infrastructure
from tests.support.waiting import eventually

from jettythunder.broker.confirms import Message
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher
from jettythunder.errors import BrokerUnavailable

# No frame is larger than 128 KiB.
LARGE_BYTES = 300_000


@pytest_asyncio.fixture
async def channel(servers: Infrastructure) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(servers.rabbitmq_url) as connection:
        yield await connection.channel()


@contextlib.asynccontextmanager
async def opened_publisher(
    infrastructure: Infrastructure, *, timeout_seconds: float = 5
) -> AsyncIterator[Publisher]:
    link = BrokerLink(infrastructure.rabbitmq_url, name="test")
    publisher = Publisher(link, timeout_seconds=timeout_seconds)
    await publisher.connect()
    try:
        yield publisher
    finally:
        await link.close()


def message(routing_key: str, body: bytes = b"{}") -> Message:
    return Message(body, exchange="", routing_key=routing_key, event_type="t", message_id=str(uuid4()))


async def bodies(queue: AbstractQueue) -> list[bytes]:
    found = []
    while (taken := await queue.get(no_ack=True, fail=False)) is not None:
        found.append(taken.body)
    return found


async def test_one_that_no_queue_takes_is_named_and_the_others_arrive_in_order(
    servers: Infrastructure, channel: AbstractChannel
) -> None:
    queue = await channel.declare_queue(exclusive=True)
    batch = [message(queue.name, b"%d" % number) for number in range(200)]
    batch[100:100] = [message("nobody")]
    async with opened_publisher(servers) as publisher:
        returned, others = await asyncio.gather(
            publisher.publish_all(batch),
            publisher.publish_all([message("nobody"), message(queue.name, b"-")]),
        )
    assert returned == {batch[100].message_id}
    assert len(others) == 1
    arrived = await bodies(queue)
    arrived.remove(b"-")
    assert arrived == [b"%d" % number for number in range(200)]


async def test_one_that_a_full_queue_refuses_fails_the_batch(
    servers: Infrastructure, channel: AbstractChannel
) -> None:
    full = await channel.declare_queue(
        exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
    )
    other = await channel.declare_queue(exclusive=True)
    batch = [message(full.name), message(full.name), message(other.name)]
    async with opened_publisher(servers) as publisher:
        await publisher.publish_all(batch[:1])
        with pytest.raises(BrokerUnavailable):
            await publisher.publish_all(batch)
        await full.purge()
        assert await publisher.publish_all(batch[1:]) == set()
    assert len(await bodies(other)) == 2


async def test_a_large_body_arrives_among_others(servers: Infrastructure, channel: AbstractChannel) -> None:
    queue = await channel.declare_queue(exclusive=True)
    sent = [b"before", bytes(index % 251 for index in range(LARGE_BYTES)), b"after"]
    async with opened_publisher(servers) as publisher:
        await publisher.publish_all([message(queue.name, body) for body in sent])
    assert await bodies(queue) == sent


async def test_what_an_alarm_blocks_times_out_and_goes_through_after_it(
    own_infrastructure: Infrastructure,
) -> None:
    async with opened_publisher(own_infrastructure, timeout_seconds=1) as publisher:

        async def is_published() -> bool:
            try:
                await publisher.publish_all([message("nobody")])
            except BrokerUnavailable:
                return False
            return True

        async def is_blocked() -> bool:
            return not await is_published()

        await eventually(is_published)
        await asyncio.to_thread(own_infrastructure.rabbitmqctl, "set_vm_memory_high_watermark", "0.000001")
        try:
            await eventually(is_blocked)
        finally:
            await asyncio.to_thread(own_infrastructure.rabbitmqctl, "set_vm_memory_high_watermark", "0.4")
        await eventually(is_published)
