"""A consumer's dead letters, all of them, for as long as somebody works on them.

Guarantees given here: a dead letter leaves its queue only when it is removed. Looking takes nothing out:
messages are consumed without acknowledgement on a connection of their own, and go back to their places at its
end, also when this process dies. One look at a queue at a time, so nobody sees half of it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aio_pika
import aiormq.exceptions
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from jettythunder.broker import topology
from jettythunder.broker.connection import CONNECTION_ERRORS, connected
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.settling import Failure, failure_of, without_failure
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.errors import BrokerUnavailable, DeadLettersBusy

_TAKE_SECONDS = 60.0
_BUSY_ATTEMPTS = 50
_BUSY_WAIT_SECONDS = 0.1


@dataclass(frozen=True)
class DeadMessage:
    """A message in a dead-letter queue, with the reason why it is there."""

    message_id: str
    event_type: str
    content_type: str
    correlation_id: str | None
    headers: Mapping[str, Any]
    body: bytes
    failure: Failure
    _taken: AbstractIncomingMessage

    async def remove(self) -> None:
        """Take it out of the queue for good."""
        await self._taken.ack()


@contextlib.asynccontextmanager
async def open_dead_letters(url: str, queue: ConsumerQueue) -> AsyncIterator[list[DeadMessage]]:
    """All dead letters of a consumer, in their order; what is not removed inside goes back.

    Raises:
        DeadLettersBusy: somebody else works on them.
        BrokerUnavailable: the broker can't be reached.
    """
    async with connected(url, name="dead letters") as connection:
        try:
            channel = await _lock(connection, queue)
            async with asyncio.timeout(_TAKE_SECONDS):
                taken = await _take_all(channel, queue)
        except CONNECTION_ERRORS as error:
            raise BrokerUnavailable from error
        try:
            yield [_read(message) for message in taken]
        finally:
            with contextlib.suppress(*CONNECTION_ERRORS):
                await _put_back(channel)


async def give_back(
    publisher: Publisher,
    queue: ConsumerQueue,
    dead: DeadMessage,
    *,
    body: bytes | None = None,
    event_type: str | None = None,
    message_id: str | None = None,
) -> None:
    """Publish a dead letter, changed where asked for, to its consumer alone, with attempts counted anew.

    Without ``reply_to``: whoever waited for an answer does not wait now, and the answer may be a secret.

    Raises:
        Unroutable, BrokerUnavailable: the consumer's queue has not confirmed it.
    """
    await publisher.publish(
        dead.body if body is None else body,
        exchange=queue.replay_exchange,
        routing_key=queue.name,
        event_type=event_type or dead.event_type,
        message_id=message_id or dead.message_id,
        headers=without_failure(dead.headers),
        correlation_id=dead.correlation_id,
        content_type=dead.content_type,
    )


async def _lock(connection: aio_pika.abc.AbstractConnection, queue: ConsumerQueue) -> AbstractChannel:
    """A channel while nobody else looks at this queue: an exclusive queue of the connection is the lock.

    Quorum queues let any number of consumers in, also those that ask to be alone.
    """
    for _ in range(_BUSY_ATTEMPTS):
        channel = await connection.channel(publisher_confirms=True)
        try:
            await channel.declare_queue(f"{queue.dead_letter_queue}.lock", exclusive=True, auto_delete=True)
        except aiormq.exceptions.ChannelLockedResource:
            await asyncio.sleep(_BUSY_WAIT_SECONDS)
        else:
            return channel
    raise DeadLettersBusy


async def _take_all(channel: AbstractChannel, queue: ConsumerQueue) -> list[AbstractIncomingMessage]:
    arrived: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    dead = await channel.declare_queue(queue.dead_letter_queue, passive=True)
    # Written when nobody else holds messages back, the fence comes after everything there is.
    fence = aio_pika.Message(b"", type=topology.DEAD_LETTER_FENCE, message_id=uuid4().hex)
    await channel.default_exchange.publish(fence, queue.dead_letter_queue)
    await dead.consume(arrived.put)
    taken: list[AbstractIncomingMessage] = []
    while True:
        message = await arrived.get()
        if message.type != topology.DEAD_LETTER_FENCE:
            taken.append(message)
            continue
        await message.ack()
        # One with another id is what a look that died has left.
        if message.message_id == fence.message_id:
            return taken


async def _put_back(channel: AbstractChannel) -> None:
    # Said rather than left to the closing channel, so that the next to look finds everything in its place.
    underlay = await channel.get_underlay_channel()
    await underlay.basic_nack(0, multiple=True, requeue=True)
    await channel.close()


def _read(message: AbstractIncomingMessage) -> DeadMessage:
    return DeadMessage(
        message_id=message.message_id or "",
        event_type=message.type or "",
        content_type=message.content_type or "",
        correlation_id=message.correlation_id,
        headers=message.headers,
        body=message.body,
        failure=failure_of(message.headers),
        _taken=message,
    )
