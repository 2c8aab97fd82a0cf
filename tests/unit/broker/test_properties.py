"""Whatever a publisher wrote into a message's properties, the frame is decoded and says what was wrong."""

from __future__ import annotations

import struct

import pytest
from pamqp import frame, header
from tests.support.raw_amqp import BAD_PROPERTIES, REFUSED_PROPERTIES, RawProperties

from jettythunder.broker.properties import UNDECODABLE


def received(raw: bytes) -> header.ContentHeader:
    """The content header as it is read from a connection."""
    payload = struct.pack(">HxxQ", 60, 0) + raw
    data = struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce"
    _, _, decoded = frame.unmarshal(data)
    assert isinstance(decoded, header.ContentHeader)
    return decoded


@pytest.mark.parametrize(("named", "properties"), BAD_PROPERTIES + REFUSED_PROPERTIES)
def test_what_is_not_valid_is_named(named: str, properties: RawProperties) -> None:
    decoded = received(properties.marshal()).properties
    assert (decoded.headers or {})[UNDECODABLE] == named
    assert decoded.message_id == "poison"


@pytest.mark.parametrize(("named", "properties"), BAD_PROPERTIES + REFUSED_PROPERTIES)
def test_what_was_received_can_be_sent_on(named: str, properties: RawProperties) -> None:
    del named
    decoded = received(properties.marshal()).properties
    again = received(decoded.marshal()).properties
    assert again == decoded


def test_headers_around_one_that_is_not_valid_are_kept() -> None:
    bad = b"\x02\xff\xfet\x01"
    table = b"\x01aS\x00\x00\x00\x02aa" + bad + b"\x01nV" + b"\x0fx-stream-offsetl" + b"\x00" * 7 + b"\x2a"
    raw = struct.pack(">HI", 8192, len(table)) + table
    assert received(raw).properties.headers == {
        "a": "aa",
        "n": None,
        "x-stream-offset": 42,
        UNDECODABLE: "headers",
    }


@pytest.mark.parametrize("table", [b"\x01aS", b"\x01aS\x00", b"\x01aA\x00\x00\x00", b"\x09a"])
def test_a_table_that_ends_within_an_entry_is_named(table: bytes) -> None:
    raw = struct.pack(">HI", 8192, len(table)) + table
    assert (received(raw).properties.headers or {})[UNDECODABLE] == "headers"


def test_valid_properties_are_left_alone() -> None:
    sent = header.ContentHeader().properties
    sent.message_id, sent.correlation_id, sent.delivery_mode = "\ufffd é", "x", 2
    sent.headers = {"x-jt-attempts": 1}
    assert received(sent.marshal()).properties == sent
