"""A consumer's dead letters, a window at a time, for as long as somebody works on them.

A quorum queue delivers from its oldest message on, and can't skip one: what is to stay goes back, or is held.
So a queue that fits into one window is held, and goes back to its places if nothing was removed. Else the
messages that stay move behind the others, window by window and in their order, until the fence that was
written at the beginning arrives: then all are where they were, with what has newly arrived among them.

Guarantees given here:

* A dead letter leaves its queue only when it is removed, or after the queue has confirmed its copy. Should
  this process die, nothing is lost, and one window at most is there twice.
* No more than a window is held, here and in the broker.
* One at a time works on a queue, and the others are refused.
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
# A frame holds all headers of a message.
_HEADERS_BYTES = 100_000
# What the broker adds to a message that it delivers again.
_ADDED_BY_BROKER = ("x-delivery-count", "x-acquired-count")


@dataclass
class DeadMessage:
    """A message in a dead-letter queue, with the reason why it is there."""

    message_id: str
    event_type: str
    content_type: str
    correlation_id: str | None
    headers: Mapping[str, Any]
    body: bytes
    failure: Failure
    is_removed: bool = False

    def remove(self) -> None:
        """Have it taken out of the queue when work on its window ends."""
        self.is_removed = True


@dataclass(frozen=True)
class _Held:
    """A message that was delivered, and what the caller knows of it."""

    taken: AbstractIncomingMessage
    dead: DeadMessage


class DeadLetterQueue:
    """A dead-letter queue while nobody else works on it. Made by :func:`open_dead_letters`.

    Args:
        publishing: for the fence and for copies.
        consuming: for one consumer; what it holds goes back to its places when the channel is closed.
    """

    def __init__(
        self, publishing: AbstractChannel, consuming: AbstractChannel, *, name: str, window_size: int
    ) -> None:
        self._publishing = publishing
        self._consuming = consuming
        self._name = name
        self._window_size = window_size
        self._fence = uuid4().hex
        self._arrived: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        self._window: list[_Held] = []
        self._is_changed = False
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
                yield [held.dead for held in self._window]
            await self._end_window()

    async def start(self) -> None:
        """Write the fence, and let messages come."""
        with _translated():
            fence = aio_pika.Message(b"", type=topology.DEAD_LETTER_FENCE, message_id=self._fence)
            await self._publishing.default_exchange.publish(fence, self._name, timeout=_CONFIRM_SECONDS)
            self._consuming.close_callbacks.add(lambda *_: self._arrived.put_nowait(None))
            await self._consuming.set_qos(prefetch_count=self._window_size)
            queue = await self._consuming.get_queue(self._name, ensure=False)
            await queue.consume(self._arrived.put)

    async def finish(self) -> None:
        """Leave everything in its order, also where not all windows were asked for."""
        await self._end_window()
        while self._is_changed and not self._is_at_end:
            await self._take_window()
            await self._end_window()

    async def stop(self) -> None:
        """End work on the window at hand; the messages that were moved stay behind the others."""
        if any(held.dead.is_removed for held in self._window):
            await self._end_window()

    async def close(self) -> None:
        """Give what is held back to its places; returns when it is there, for whoever comes next."""
        with _translated():
            await self._consuming.close()
            await _wait_until_unused(self._publishing, self._name)

    async def _take_window(self) -> None:
        """Take messages until the window is full, or the fence arrives."""
        while len(self._window) < self._window_size and not self._is_at_end:
            with _translated():
                async with asyncio.timeout(_SILENCE_SECONDS):
                    message = await self._arrived.get()
                if message is None:
                    raise BrokerUnavailable
                if message.type != topology.DEAD_LETTER_FENCE:
                    self._window.append(_Held(message, _read(message)))
                    continue
                # One with another id was left by a process that crashed.
                await message.ack()
                self._is_at_end = message.message_id == self._fence

    async def _end_window(self) -> None:
        """Put what stays behind the others; where nothing was changed and all is at hand, it is kept held."""
        window = self._window
        self._is_changed = self._is_changed or any(held.dead.is_removed for held in window)
        if not window or (self._is_at_end and not self._is_changed):
            return
        kept = [held.taken for held in window if not held.dead.is_removed]
        with _translated():
            channel = cast("Channel", await self._publishing.get_underlay_channel())
            await asyncio.gather(*(self._copy(channel, message) for message in kept))
            self._window = []
            self._is_changed = self._is_changed or bool(kept)
            # One acknowledgement for all: RabbitMQ may lose those of many when the channel is closed.
            await window[-1].taken.ack(multiple=True)

    async def _copy(self, channel: Channel, message: AbstractIncomingMessage) -> None:
        headers = {name: value for name, value in message.headers.items() if name not in _ADDED_BY_BROKER}
        properties = message.properties
        properties.headers = cast("HeadersType", sendable(headers, most_bytes=_HEADERS_BYTES))
        # The broker refuses the name of another user than the connection's.
        properties.user_id = None
        await channel.basic_publish(
            message.body,
            routing_key=self._name,
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
    name = queue.dead_letter_queue
    async with connected(url, name="dead letters") as connection:
        publishing = await _lock(connection, name)
        if not await _exists(connection, name):
            yield None
            return
        with _translated():
            await _wait_until_unused(publishing, name)
            consuming = await connection.channel(publisher_confirms=False)
        opened = DeadLetterQueue(publishing, consuming, name=name, window_size=window_size)
        try:
            await opened.start()
            yield opened
        except GeneratorExit:
            # A generator around this was closed: the caller has seen enough.
            await opened.finish()
            raise
        except BaseException:
            with contextlib.suppress(BrokerUnavailable):
                await opened.stop()
            raise
        else:
            await opened.finish()
        finally:
            with contextlib.suppress(BrokerUnavailable):
                await opened.close()


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
        headers={
            **sendable(without_failure(dead.headers), most_bytes=_HEADERS_BYTES),
            topology.REPLAY_HEADER: queue.dead_letter_queue,
        },
        correlation_id=dead.correlation_id,
        content_type=dead.content_type,
    )


async def _lock(connection: AbstractConnection, name: str) -> AbstractChannel:
    """A channel while nobody else looks at this queue: an exclusive queue of the connection is the lock.

    Quorum queues let any number of consumers in, also those that ask to be alone.
    """
    with _translated():
        for _ in range(_BUSY_ATTEMPTS):
            channel = await connection.channel(publisher_confirms=True)
            try:
                await channel.declare_queue(f"{name}.lock", exclusive=True, auto_delete=True)
            except aiormq.exceptions.ChannelLockedResource:
                await asyncio.sleep(_BUSY_WAIT_SECONDS)
            else:
                return channel
    raise DeadLettersBusy


async def _exists(connection: AbstractConnection, name: str) -> bool:
    with _translated():
        # Asking for a queue that is not there closes the channel.
        channel = await connection.channel()
        try:
            await channel.declare_queue(name, passive=True)
        except aiormq.exceptions.ChannelNotFoundEntity:
            return False
        await channel.close()
        return True


async def _wait_until_unused(channel: AbstractChannel, name: str) -> None:
    """Wait until the queue has noticed that its last consumer is gone, and has back what that held.

    Raises:
        DeadLettersBusy: it has a consumer, and keeps it.
    """
    for _ in range(_BUSY_ATTEMPTS):
        declared = await channel.declare_queue(name, passive=True)
        if not declared.declaration_result.consumer_count:
            return
        await asyncio.sleep(_BUSY_WAIT_SECONDS)
    raise DeadLettersBusy


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
    )
