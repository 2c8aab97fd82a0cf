"""Decoding what a publisher wrote into AMQP strings, tables and timestamps, whatever it is.

pamqp raises at the first text that is not UTF-8, or at a header of a kind it does not know, and aiormq drops
the connection then. The broker delivers the message again, the connection is dropped again, and the messages
around it reach their delivery limit. With the decoders installed here a frame is always decoded, and the
message's headers name the properties that could not be, so that its consumer can refuse that one message.
"""

import struct
from datetime import datetime

from pamqp import commands, decode
from pamqp.common import FieldTable

# A header that says which properties of a message could not be decoded.
UNDECODABLE = "x-jt-undecodable"

_SHORT_STRING_BYTES = 255
_TEXTS = (
    "content_type",
    "content_encoding",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "message_type",
    "user_id",
    "app_id",
    "cluster_id",
)

_strict_unmarshal = commands.Basic.Properties.unmarshal


class _Replaced(str):
    """Text in which replacement characters stand for bytes that are not UTF-8."""

    __slots__ = ()


def install() -> None:
    """Let pamqp use these decoders, in this process, for everything it receives."""
    # Method frames too: a delivery names its routing key, which is the publisher's text.
    decode.METHODS["shortstr"] = _text
    decode.METHODS["table"] = _table
    decode.METHODS["timestamp"] = _timestamp
    commands.Basic.Properties.unmarshal = _unmarshal  # type: ignore[method-assign, assignment]


def _text(value: bytes) -> tuple[int, str]:
    length = value[0] if value else 0
    given = value[1 : length + 1]
    try:
        return length + 1, given.decode()
    except UnicodeDecodeError:
        # Cut, as it may be sent on: a replacement character is longer than the byte it stands for.
        replaced = given.decode(errors="replace").encode()[:_SHORT_STRING_BYTES]
        return length + 1, _Replaced(replaced.decode(errors="ignore"))


def _table(value: bytes) -> tuple[int, FieldTable]:
    try:
        return decode.field_table(value)
    except Exception:  # RecursionError, OverflowError: the publisher chooses
        (length,) = struct.unpack_from(">I", value)
        return length + 4, {UNDECODABLE: "headers"}


def _timestamp(value: bytes) -> tuple[int, datetime | None]:
    try:
        return decode.timestamp(value)
    except Exception:
        return 8, None


def _unmarshal(self: commands.Basic.Properties, flags: int, data: bytes) -> None:
    _strict_unmarshal(self, flags, data)
    undecodable = [name for name in _TEXTS if isinstance(getattr(self, name), _Replaced)]
    if flags & self.flags["timestamp"] and self.timestamp is None:
        undecodable.append("timestamp")
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
