"""Messages whose properties no client library would write, as bytes."""

from __future__ import annotations

import struct
from typing import Any

import aiormq
from pamqp import commands

MESSAGE_ID = b"\x06poison"


class RawProperties(commands.Basic.Properties):
    """Properties that travel as these bytes: flags, then the values in the protocol's order."""

    def __init__(self, flags: int, values: bytes) -> None:
        super().__init__()
        self._raw = struct.pack(">H", flags) + values

    def marshal(self) -> bytes:
        return self._raw


def _headers(table: bytes) -> bytes:
    return struct.pack(">I", len(table)) + table


def _nested(depth: int) -> bytes:
    table = b""
    for _ in range(depth):
        table = b"\x01aF" + _headers(table)
    return table


_HEADERS, _DELIVERY_MODE, _CORRELATION_ID, _EXPIRATION = 8192, 4096, 1024, 256
_MESSAGE_ID, _TIMESTAMP, _TYPE = 128, 64, 32
_FAR_FUTURE = b"\x7f" + b"\xff" * 7

# What is wrong with each, and the properties. Their message id is `poison`.
BAD_PROPERTIES: list[Any] = [
    ("correlation_id", RawProperties(_CORRELATION_ID | _MESSAGE_ID, b"\x02\xff\xfe" + MESSAGE_ID)),
    ("correlation_id", RawProperties(_CORRELATION_ID | _MESSAGE_ID, b"\xff" + b"\xff" * 255 + MESSAGE_ID)),
    ("message_type", RawProperties(_MESSAGE_ID | _TYPE, MESSAGE_ID + b"\x01\xff")),
    ("headers", RawProperties(_HEADERS | _MESSAGE_ID, _headers(b"\x02\xff\xfet\x01") + MESSAGE_ID)),
    ("headers", RawProperties(_HEADERS | _MESSAGE_ID, _headers(b"\x01aT" + _FAR_FUTURE) + MESSAGE_ID)),
    ("headers", RawProperties(_HEADERS | _MESSAGE_ID, _headers(_nested(3_000)) + MESSAGE_ID)),
    ("timestamp", RawProperties(_MESSAGE_ID | _TIMESTAMP, MESSAGE_ID + _FAR_FUTURE)),
]

# As above; RabbitMQ 3.10 takes none of these from a publisher.
REFUSED_PROPERTIES: list[Any] = [
    ("delivery_mode", RawProperties(_DELIVERY_MODE | _MESSAGE_ID, b"\x07" + MESSAGE_ID)),
    ("expiration", RawProperties(_EXPIRATION | _MESSAGE_ID, b"\x04soon" + MESSAGE_ID)),
]


async def publish_raw(
    url: str, properties: RawProperties, *, exchange: str, routing_key: str, body: bytes
) -> None:
    """Publish a message whose properties are these bytes."""
    connection = await aiormq.connect(url)
    try:
        channel = await connection.channel()
        await channel.basic_publish(body, exchange=exchange, routing_key=routing_key, properties=properties)
    finally:
        await connection.close()
