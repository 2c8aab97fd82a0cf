"""Messages written at once, and their confirms awaited together.

aiormq publishes message by message, with a future, a time-out and several frame objects for each. Here the
messages of a batch become one write, and share one future.

This keeps the channel's books as ``basic_publish`` of aiormq 7.2 does: delivery tags are counted under the
channel's lock, ``confirmations`` has an entry for each tag until the broker has confirmed it, and
``message_id_delivery_tag`` leads a returned message to its tag.
"""

import asyncio
import functools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import uuid4

import pamqp.frame
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError, PublishError
from pamqp import commands, constants, encode

from jettythunder.contracts.envelope import CONTENT_TYPE

_HEADER = struct.Struct(">BHIHxxQH")
_BODY = struct.Struct(">BHI")
# Of the header's payload: the class, the weight, the body's size and the flags of the properties.
_HEADER_BYTES = 14
_PERSISTENT = b"\x02"
_FLAGS = commands.Basic.Properties.flags


@dataclass(frozen=True)
class Message:
    """A message to be published.

    ``mandatory`` is off for replies only: RabbitMQ returns those to direct reply-to although they arrive.
    """

    body: bytes
    exchange: str
    routing_key: str
    event_type: str
    message_id: str
    headers: Mapping[str, object] | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    expiration_seconds: float | None = None
    content_type: str = CONTENT_TYPE
    mandatory: bool = True


class _Batch:
    """Stands in the channel's books for the future of each message of a batch."""

    def __init__(self, ended: asyncio.Future[None], *, count: int) -> None:
        self.returned: set[str] = set()
        self.failure: DeliveryError | None = None
        self._ended = ended
        self._waiting = count

    def done(self) -> bool:
        return self._ended.done()

    def cancelled(self) -> bool:
        return self._ended.cancelled()

    def set_result(self, confirm: object) -> None:
        """A message was confirmed."""
        self._waiting -= 1
        if not self._waiting and not self._ended.done():
            self._ended.set_result(None)

    def set_exception(self, error: DeliveryError) -> None:
        """A message was returned, or refused by a queue."""
        if isinstance(error, PublishError) and error.message is not None:
            self.returned.add(error.message.header.properties.message_id or "")
        else:
            self.failure = error
        self.set_result(error)


async def publish_confirmed(channel: Channel, messages: Sequence[Message]) -> set[str]:
    """Publish messages in their order, persistent, and wait until the broker has confirmed each.

    Returns:
        The ids of the mandatory ones that no queue takes.

    Raises:
        DeliveryError: a queue refused one; the others may have arrived.
        AMQPError, ConnectionError: the channel is closed; any of them may have arrived.
    """
    # A returned message is known by its id alone.
    ids = [message.message_id or uuid4().hex for message in messages]
    parts: list[bytes] = []
    for message, message_id in zip(messages, ids, strict=True):
        _marshal(parts, message, message_id, channel=channel)
    frame = ChannelFrame(payload=b"".join(parts), should_close=False)
    # What is written to a broker that takes nothing is read once it does, however long ago it was given up.
    await channel.connection.ready()
    async with channel.lock:
        ended = channel.create_future()
        batch = _Batch(ended, count=len(messages))
        first = channel.delivery_tag + 1
        tags = range(first, first + len(messages))
        channel.delivery_tag += len(messages)
        channel.confirmations.update(dict.fromkeys(tags, cast("asyncio.Future[Any]", batch)))
        channel.message_id_delivery_tag.update(zip(ids, tags, strict=True))
        try:
            await channel.write_queue.put(frame)
        except BaseException:
            # Not written, so the broker does not count them.
            channel.delivery_tag -= len(messages)
            for tag in tags:
                del channel.confirmations[tag]
            _forget(channel, ids, tags)
            ended.cancel()
            raise
    try:
        await ended
    except asyncio.CancelledError:
        if _is_cancelled():
            raise
        # A channel that is closed in order has this raised, by those too who were not cancelled.
        raise ConnectionAbortedError("the channel was closed") from None
    finally:
        _forget(channel, ids, tags)
    if batch.failure is not None:
        raise batch.failure
    return batch.returned


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _forget(channel: Channel, ids: Sequence[str], tags: Sequence[int]) -> None:
    known = channel.message_id_delivery_tag
    for message_id, tag in zip(ids, tags, strict=True):
        if known.get(message_id) == tag:
            del known[message_id]


def _marshal(parts: list[bytes], message: Message, message_id: str, *, channel: Channel) -> None:
    """Append the frames of a message: the method, the header, and the body in as many as it takes."""
    number, body = channel.number, message.body
    flags, properties = _properties(message, message_id)
    parts += (
        _method(number, message.exchange, message.routing_key, message.mandatory),
        _HEADER.pack(
            constants.FRAME_HEADER,
            number,
            _HEADER_BYTES + len(properties),
            commands.Basic.frame_id,
            len(body),
            flags,
        ),
        properties,
        constants.FRAME_END_CHAR,
    )
    # A broker without a limit of frames leaves none for what is in them.
    most_bytes = channel.max_content_size if channel.max_content_size > 0 else len(body)
    for begin in range(0, len(body), most_bytes or 1):
        part = body[begin : begin + most_bytes]
        parts += (_BODY.pack(constants.FRAME_BODY, number, len(part)), part, constants.FRAME_END_CHAR)


@functools.lru_cache(maxsize=256)
def _method(channel_number: int, exchange: str, routing_key: str, mandatory: bool) -> bytes:
    return pamqp.frame.marshal(
        commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=mandatory),
        channel_number,
    )


def _properties(message: Message, message_id: str) -> tuple[int, bytes]:
    """The flags and the values of a message's properties, by hand: pamqp takes four times as long."""
    headers, expiration = message.headers, message.expiration_seconds
    # In the order of their flags, which is that in which they are written.
    values = (
        ("content_type", _text(message.content_type)),
        ("headers", encode.field_table(cast("dict[str, Any]", headers)) if headers else b""),
        ("delivery_mode", _PERSISTENT),
        ("correlation_id", _text(message.correlation_id)),
        ("reply_to", _text(message.reply_to)),
        ("expiration", _text(None if expiration is None else str(int(expiration * 1000)))),
        ("message_id", _text(message_id)),
        ("message_type", _text(message.event_type)),
    )
    flags = 0
    for name, value in values:
        if value:
            flags |= _FLAGS[name]
    return flags, b"".join([value for _, value in values])


def _text(value: str | None) -> bytes:
    return encode.short_string(value) if value else b""
