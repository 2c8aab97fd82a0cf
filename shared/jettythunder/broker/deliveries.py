"""Receiving deliveries from the bytes of a connection, as many at once as have arrived.

aiormq reads a delivery as three frames, each with two reads, an object and a place in a queue. For a consumer
of small messages that takes longer than the messages do, so their frames are taken out of the stream before;
the others are aiormq's, also those that are not as AMQP says: it closes the connection then.
"""

import asyncio
import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, SupportsIndex

from aiormq.connection import TransportFactory
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp import constants
from pamqp.commands import Basic
from pamqp.heartbeat import Heartbeat
from yarl import URL

from jettythunder.broker.properties import received, text

_KINDS = (constants.FRAME_METHOD, constants.FRAME_HEADER, constants.FRAME_BODY, constants.FRAME_HEARTBEAT)
# Kind, channel, bytes of the payload; behind the payload is the frame's end.
_FRAME = struct.Struct(">BHI")
_DELIVER = struct.pack(">I", Basic.Deliver.index)
# Its delivery tag, and whether it was delivered before.
_TAG = struct.Struct(">Q?")
_HEARTBEAT = Heartbeat().marshal()
_NO_PROPERTIES = Basic.Properties()


@dataclass(slots=True)
class Delivery:
    """A message as a queue delivered it."""

    tag: int
    exchange: str
    routing_key: str
    properties: Basic.Properties
    body: bytes


class Receiving(TransportFactory):
    """Connects, for aiormq, and hands on what is delivered over the connection.

    Args:
        take: called with each delivery as soon as it has arrived as a whole; it must not raise. One channel
            of the connection may consume.
    """

    def __init__(self, take: Callable[[Delivery], None]) -> None:
        self._take = take

    async def create(self, url: URL, **options: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, with TLS where the URL says so."""
        contexts = options.pop("ssl_context_provider")
        tls = await contexts.get_context() if url.scheme == "amqps" else None
        loop = asyncio.get_running_loop()
        reader = DeliveryReader(self._take, loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        try:
            # aiormq's URLs have a host, and it gives them the port where they have none.
            transport, _ = await loop.create_connection(
                lambda: protocol, str(url.host), int(url.port or 0), ssl=tls, **options
            )
        except OSError as error:
            raise AMQPConnectionError(*error.args) from error
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class DeliveryReader(asyncio.StreamReader):
    """A stream of AMQP frames that keeps the deliveries among them for itself.

    What is not framed as AMQP says is passed on as it is, with all that follows.
    """

    def __init__(self, take: Callable[[Delivery], None], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._take = take
        self._begun = b""
        self._is_framed = True
        # The delivery whose content is still to come, on which channel, and how many bytes of it are missing:
        # None before its header.
        self._delivery: Delivery | None = None
        self._channel = 0
        self._missing: int | None = None
        self._parts: list[bytes] = []

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        """Take the deliveries out of what has arrived; the rest can be read."""
        if self._is_framed:
            try:
                data = self._without_deliveries(self._begun + bytes(data))
            except (struct.error, ValueError, IndexError) as error:
                self._is_framed = False
                self.set_exception(InvalidFrameError(f"A delivery that is not as AMQP says: {error}"))
                return
        super().feed_data(data)

    def _without_deliveries(self, data: bytes) -> bytes:
        others: list[bytes] = []
        kept = 0
        begin, end = 0, len(data)
        while begin + _FRAME.size <= end:
            kind, channel, size = _FRAME.unpack_from(data, begin)
            payload, last = begin + _FRAME.size, begin + _FRAME.size + size
            if kind not in _KINDS or (last < end and data[last] != constants.FRAME_END):
                self._is_framed = False
                return b"".join([*others, data[begin:]])
            if last >= end:
                break
            if self._keeps(kind, channel, data[payload:last]):
                kept += 1
            else:
                others.append(data[begin : last + 1])
            begin = last + 1
        self._begun = data[begin:]
        if kept and not others:
            # aiormq gives a connection up from which it has read nothing for long.
            return _HEARTBEAT
        return b"".join(others)

    def _keeps(self, kind: int, channel: int, payload: bytes) -> bool:
        delivery = self._delivery
        if delivery is None:
            if kind != constants.FRAME_METHOD or not payload.startswith(_DELIVER):
                return False
            self._delivery, self._channel, self._missing = _delivery(payload), channel, None
            return True
        # Between the frames of a delivery there may be those of the connection.
        if channel != self._channel:
            return False
        if self._missing is None and kind == constants.FRAME_HEADER:
            self._missing, delivery.properties = received(payload)
        elif self._missing is not None and kind == constants.FRAME_BODY:
            self._missing -= len(payload)
            self._parts.append(payload)
        else:
            raise ValueError(f"a frame of kind {kind} where its content should be")
        if self._missing <= 0:
            delivery.body = b"".join(self._parts)
            self._delivery, self._parts = None, []
            self._take(delivery)
        return True


def _delivery(method: bytes) -> Delivery:
    # A consumer tag, the delivery's tag, whether it is another delivery, the exchange, the routing key.
    at = len(_DELIVER) + 1 + method[len(_DELIVER)]
    tag, _ = _TAG.unpack_from(method, at)
    at += _TAG.size
    size, exchange = text(method[at:])
    at += size
    size, routing_key = text(method[at:])
    if at + size > len(method):
        raise ValueError("it ends too early")
    return Delivery(tag, exchange, routing_key, _NO_PROPERTIES, b"")
