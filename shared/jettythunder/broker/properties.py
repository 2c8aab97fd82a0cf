"""Decoding what a publisher wrote into AMQP strings, tables and timestamps, whatever it is.

pamqp raises at the first text that is not UTF-8, or at a header of a kind it does not know, and aiormq drops
the connection then. The broker delivers the message again, the connection is dropped again, and the messages
around it reach their delivery limit. With the decoders installed here a frame is always decoded, and the
message's headers name the properties that could not be, so that its consumer can refuse that one message.
"""

import contextlib
import struct
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache

from pamqp import commands, decode
from pamqp.common import FieldTable, FieldValue
from pamqp.header import ContentHeader

# A header that says which properties of a message could not be decoded.
UNDECODABLE = "x-jt-undecodable"

_SHORT_STRING_BYTES = 255
_LENGTH = struct.Struct(">I")
# Class, weight, bytes of the body, flags of the properties.
_CONTENT = struct.Struct(">HHQH")
_MORE_FLAGS = 1
_NO_ENTRIES = _LENGTH.pack(0)
# How many bytes a table's values take, by the letter before them
# (https://www.rabbitmq.com/amqp-0-9-1-errata.html).
_SIZES = {
    **dict.fromkeys((b"V", b"\x00"), 0),
    **dict.fromkeys((b"t", b"b", b"B"), 1),
    **dict.fromkeys((b"s", b"u"), 2),
    **dict.fromkeys((b"I", b"i", b"f"), 4),
    b"D": 5,
    **dict.fromkeys((b"l", b"L", b"d", b"T"), 8),
}


class _Replaced(str):
    """Text in which replacement characters stand for bytes that are not UTF-8."""

    __slots__ = ()


def install() -> None:
    """Let pamqp use these decoders, in this process, for everything it receives."""
    # Method frames too: a delivery names its routing key, which is the publisher's text.
    decode.METHODS["shortstr"] = text
    decode.METHODS["table"] = _table
    decode.METHODS["timestamp"] = _timestamp
    commands.Basic.Properties.unmarshal = _unmarshal  # type: ignore[method-assign, assignment]


def received(header: bytes) -> tuple[int, commands.Basic.Properties]:
    """What a content header says: how many bytes its body has, and the message's properties.

    Raises:
        struct.error, ValueError: it is too short.
    """
    _, _, size, flags = _CONTENT.unpack_from(header)
    if flags & _MORE_FLAGS:
        content = ContentHeader()
        content.unmarshal(header)
        return content.body_size, content.properties
    properties = commands.Basic.Properties()
    _unmarshal(properties, flags, header[_CONTENT.size :])
    return size, properties


def text(value: bytes) -> tuple[int, str]:
    """The short string that these bytes begin with, and how many they are."""
    length = value[0] if value else 0
    given = value[1 : length + 1]
    try:
        return length + 1, given.decode()
    except UnicodeDecodeError:
        # Cut, as it may be sent on: a replacement character is longer than the byte it stands for.
        replaced = given.decode(errors="replace").encode()[:_SHORT_STRING_BYTES]
        return length + 1, _Replaced(replaced.decode(errors="ignore"))


def _table(value: bytes) -> tuple[int, FieldTable]:
    if value[: _LENGTH.size] == _NO_ENTRIES:
        return _LENGTH.size, {}
    try:
        return decode.field_table(value)
    except Exception:  # RecursionError, OverflowError: whatever a publisher can cause
        (length,) = _LENGTH.unpack_from(value)
        end = length + 4
        return end, {**dict(_readable(value[4:end])), UNDECODABLE: "headers"}


def _readable(entries: bytes) -> Iterator[tuple[str, FieldValue]]:
    """The entries of a table that can be decoded. The broker's own are among them."""
    offset = 0
    while offset < len(entries):
        begin = offset + 1 + entries[offset]
        kind = entries[begin : begin + 1]
        end = begin + 1 + _size(kind, entries[begin + 1 :])
        with contextlib.suppress(Exception):
            _, value = decode.embedded_value(entries[begin:end])
            yield entries[offset + 1 : begin].decode(), value
        offset = end


def _size(kind: bytes, value: bytes) -> int:
    if kind in _SIZES:
        return _SIZES[kind]
    # Strings, arrays and tables begin with their length; what follows an unknown kind can't be decoded.
    if kind in (b"S", b"A", b"F", b"x") and len(value) >= _LENGTH.size:
        return _LENGTH.size + int(_LENGTH.unpack_from(value)[0])
    return len(value)


def _timestamp(value: bytes) -> tuple[int, datetime | None]:
    try:
        return decode.timestamp(value)
    except Exception:
        return 8, None


_DECODERS: dict[str, Callable[[bytes], tuple[int, object]]] = {
    "octet": decode.octet,
    "shortstr": text,
    "table": _table,
    "timestamp": _timestamp,
}
# In the order of their flags, which is that in which they are written.
_PROPERTIES = [
    (name, flag, _DECODERS[commands.Basic.Properties.amqp_type(name)])
    for name, flag in commands.Basic.Properties.flags.items()
]


@lru_cache(maxsize=64)
def _properties_of(flags: int) -> list[tuple[str, Callable[[bytes], tuple[int, object]]]]:
    return [(name, decoder) for name, flag, decoder in _PROPERTIES if flags & flag]


def _unmarshal(self: commands.Basic.Properties, flags: int, data: bytes) -> None:
    # A consumer spends much of its time here, so the decoders are called without a look-up of each.
    undecodable = []
    for name, decoder in _properties_of(flags):
        consumed, value = decoder(data)
        setattr(self, name, value)
        data = data[consumed:]
        if value is None or type(value) is _Replaced:
            undecodable.append(name)
    # aio-pika makes numbers of these two, and fails where they are none that it knows.
    if self.delivery_mode not in (None, 1, 2):
        self.delivery_mode = 2
        undecodable.append("delivery_mode")
    if self.expiration and not (self.expiration.isascii() and self.expiration.isdigit()):
        self.expiration = None
        undecodable.append("expiration")
    if undecodable:
        headers = self.headers or {}
        known = [str(headers[UNDECODABLE])] if UNDECODABLE in headers else []
        self.headers = {**headers, UNDECODABLE: ", ".join([*known, *dict.fromkeys(undecodable)])}
