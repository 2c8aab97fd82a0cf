"""A consumer's dead letters, a window at a time, for as long as somebody works on them.

A quorum queue delivers from its oldest message on, and can't skip one: what is to stay goes back, or is held.
So a queue that fits into one window is held and goes back to its places. In a longer one each window's
messages move behind the others, in their order, until the fence that was written at the beginning comes by:
then all are where they were, and what has newly arrived is among them.

Guarantees given here:

* A dead letter leaves its queue only when it is removed, or after the queue has confirmed its copy. Should
  this process die, nothing is lost, and one window at most is there twice.
* No more than a window is held, here and in the broker.
* One at a time works on a queue, so nobody sees half of it.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import aio_pika
import aiormq.exceptions
from aio_pika.abc import (
    AbstractChannel,
    AbstractConnection,
    AbstractIncomingMessage,
    AbstractQueue,
    ConsumerTag,
    HeadersType,
)
from aiormq.channel import Channel

from jettythunder.broker import topology
from jettythunder.broker.connection import CONNECTION_ERRORS, connected
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.settling import Failure, failure_of, sendable, without_failure
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.errors import BrokerUnavailable, DeadLettersBusy

WINDOW_SIZE = 500

# The next message, or at least the fence, is there already: silence is a failure.
_SILENCE_SECONDS = 30.0
_CONFIRM_SECONDS = 30.0
_BUSY_ATTEMPTS = 50
_BUSY_WAIT_SECONDS = 0.1
# RabbitMQ 3.10 keeps the order of what is given back together up to this many messages.
_ORDERED_TOGETHER = 32
# A frame holds all headers of a message.
_HEADERS_BYTES = 100_000
# What the broker adds to a message that it delivers again.
_ADDED_BY_BROKER = ("x-delivery-count", "x-acquired-count")


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
        """Take it out of the queue for good; possible until the next window is asked for.

        Raises:
            BrokerUnavailable: the broker was lost; the message is still there.
        """
        try:
            await self._taken.ack()
        except CONNECTION_ERRORS as error:
            raise BrokerUnavailable from error


class DeadLetterQueue:
    """A dead-letter queue while nobody else works on it. Made by :func:`open_dead_letters`."""

    def __init__(self, channel: AbstractChannel, queue: AbstractQueue, *, window_size: int) -> None:
        self._channel = channel
        self._queue = queue
        self._window_size = window_size
        self._fence = uuid4().hex
        self._arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        self._consumer: ConsumerTag | None = None
        self._window: list[AbstractIncomingMessage] = []
        self._has_moved = False
        self._is_at_end = False

    async def windows(self) -> AsyncGenerator[list[DeadMessage], None]:
        """The messages, from the oldest to the newest of when the queue was opened, a window at a time.

        What is not removed from a window stays in the queue.

        Raises:
            BrokerUnavailable: the broker was lost.
        """
        while not self._is_at_end:
            await self._take_window()
            if self._window:
                yield [_read(message) for message in self._window]
            if not self._is_at_end or self._has_moved:
                await self._move_window()

    async def start(self) -> None:
        """Write the fence, and let messages come."""
        with _translated():
            self._channel.close_callbacks.add(lambda *_: self._arrived.put_nowait(None))
            fence = aio_pika.Message(b"", type=topology.DEAD_LETTER_FENCE, message_id=self._fence)
            await self._channel.default_exchange.publish(fence, self._queue.name, timeout=_CONFIRM_SECONDS)
            await self._channel.set_qos(prefetch_count=self._window_size)
            self._consumer = await self._queue.consume(self._arrived.put)

    async def finish(self) -> None:
        """Leave everything in its order, also where not all windows were asked for."""
        with _translated():
            if self._has_moved:
                await self._move_window()
                while not self._is_at_end:
                    await self._take_window()
                    await self._move_window()
            await self.put_back()
            await self._channel.close()

    async def put_back(self) -> None:
        """Give what is held back to the head of the queue, where it came from."""
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await self._queue.cancel(consumer)
        held = [message for message in self._window if not message.processed]
        while not self._arrived.empty():
            message = self._arrived.get_nowait()
            if message is None:
                return
            held.append(message)
        self._window = []
        underlay = await self._channel.get_underlay_channel()
        tags = [message.delivery_tag for message in held if message.delivery_tag is not None]
        # Said rather than left to the closing channel, so that the next to come finds all in their places.
        for start in range(0, len(tags), _ORDERED_TOGETHER):
            last = tags[start : start + _ORDERED_TOGETHER][-1]
            await underlay.basic_nack(last, multiple=True, requeue=True)

    async def _take_window(self) -> None:
        """Take messages until the window is full, or the fence comes by."""
        self._window = []
        while len(self._window) < self._window_size and not self._is_at_end:
            with _translated():
                async with asyncio.timeout(_SILENCE_SECONDS):
                    message = await self._arrived.get()
                if message is None:
                    raise BrokerUnavailable
                if message.type != topology.DEAD_LETTER_FENCE:
                    self._window.append(message)
                    continue
                # One with another id was left by somebody whose process died.
                await message.ack()
                self._is_at_end = message.message_id == self._fence

    async def _move_window(self) -> None:
        """Put what was not removed behind the others."""
        kept = [message for message in self._window if not message.processed]
        self._window = kept
        if not kept:
            return
        with _translated():
            underlay = cast("Channel", await self._channel.get_underlay_channel())
            await asyncio.gather(*(self._copy(underlay, message) for message in kept))
            self._has_moved = True
            self._window = []
            await underlay.basic_ack(cast("int", kept[-1].delivery_tag), multiple=True)

    async def _copy(self, underlay: Channel, message: AbstractIncomingMessage) -> None:
        headers = {name: value for name, value in message.headers.items() if name not in _ADDED_BY_BROKER}
        properties = message.properties
        properties.headers = cast("HeadersType", sendable(headers, most_bytes=_HEADERS_BYTES))
        # The broker refuses the name of another user than the connection's.
        properties.user_id = None
        await underlay.basic_publish(
            message.body,
            routing_key=self._queue.name,
            properties=properties,
            mandatory=True,
            timeout=_CONFIRM_SECONDS,
            wait=False,
        )


@contextlib.asynccontextmanager
async def open_dead_letters(
    url: str, queue: ConsumerQueue, *, window_size: int = WINDOW_SIZE
) -> AsyncIterator[DeadLetterQueue | None]:
    """A consumer's dead letters; None where the consumer has never run, so that there is no queue.

    Raises:
        DeadLettersBusy: somebody else works on them.
        BrokerUnavailable: the broker can't be reached.
    """
    async with connected(url, name="dead letters") as connection:
        channel = await _lock(connection, queue)
        declared = await _find(connection, channel, queue)
        if declared is None:
            yield None
            return
        opened = DeadLetterQueue(channel, declared, window_size=window_size)
        try:
            await opened.start()
            yield opened
        except GeneratorExit:
            # A generator around this was closed: the caller has seen enough.
            await opened.finish()
            raise
        except BaseException:
            with contextlib.suppress(*CONNECTION_ERRORS):
                await opened.put_back()
            raise
        await opened.finish()


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
        headers=sendable(without_failure(dead.headers), most_bytes=_HEADERS_BYTES),
        correlation_id=dead.correlation_id,
        content_type=dead.content_type,
    )


async def _lock(connection: AbstractConnection, queue: ConsumerQueue) -> AbstractChannel:
    """A channel while nobody else looks at this queue: an exclusive queue of the connection is the lock.

    Quorum queues let any number of consumers in, also those that ask to be alone.
    """
    with _translated():
        for _ in range(_BUSY_ATTEMPTS):
            channel = await connection.channel(publisher_confirms=True)
            try:
                await channel.declare_queue(
                    f"{queue.dead_letter_queue}.lock", exclusive=True, auto_delete=True
                )
            except aiormq.exceptions.ChannelLockedResource:
                await asyncio.sleep(_BUSY_WAIT_SECONDS)
            else:
                return channel
    raise DeadLettersBusy


async def _find(
    connection: AbstractConnection, channel: AbstractChannel, queue: ConsumerQueue
) -> AbstractQueue | None:
    with _translated():
        # Asking for a queue that is not there closes the channel.
        async with connection.channel() as asking:
            try:
                await asking.declare_queue(queue.dead_letter_queue, passive=True)
            except aiormq.exceptions.ChannelNotFoundEntity:
                return None
        return await channel.get_queue(queue.dead_letter_queue, ensure=False)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except CONNECTION_ERRORS as error:
        raise BrokerUnavailable from error


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
