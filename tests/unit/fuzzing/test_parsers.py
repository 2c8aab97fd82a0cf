"""Whatever comes from outside is understood or refused with an error of ours, and never anything else.

Each target takes a seed and makes one input of it. A failure names the seed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from uuid import UUID

import pytest
from aiormq.exceptions import InvalidFrameError
from pamqp import commands, frame, header, heartbeat
from pamqp.body import ContentBody
from starlette.requests import Request
from tests.support.multipart import BOUNDARY, FRAGMENTS, parse
from tests.support.mutations import any_bytes, any_text, joined, mutated
from werkzeug.http import parse_options_header

from jettythunder import edge_tokens
from jettythunder.broker.decoding import decode
from jettythunder.broker.deliveries import Delivery, DeliveryReader
from jettythunder.broker.properties import UNDECODABLE
from jettythunder.broker.settling import failure_of, sendable, without_failure
from jettythunder.contracts.envelope import Event
from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import InvalidField, LinkExpired, LinkInvalid, MalformedEvent, UnknownEventType
from jettythunder.signatures import STREAM_LINK, SigningKeys, new_signing_key
from storage_gateway import paging
from storage_gateway.assets import names
from storage_gateway.assets.conditions import Conditions
from storage_gateway.assets.ranges import parse_range
from storage_gateway.errors import MalformedForm, PreconditionFailed, RangeNotSatisfiable
from storage_gateway.uploads.form import Form, Part
from usage_meter.messages import USAGE_METER_EVENTS

FEW = 1_000
MANY = 1_000_000
GOLDEN = Path(__file__).parents[2] / "contracts" / "golden"

KEYS = SigningKeys.parse(new_signing_key("test"))
TOKEN = EdgeToken(
    account_id=UUID(int=1),
    upload_id=UUID(int=2),
    number=3,
    size_bytes=4,
    s3_bucket="bucket",
    s3_key="key",
    s3_upload_id="multipart",
    epoch=1,
    expires_at=int(time.time()) + 86_400,
)
MINTED = edge_tokens.mint(KEYS, TOKEN)
LOOP = asyncio.new_event_loop()
DELIVERY_FRAMES = [
    *(
        frame.marshal(each, 1)
        for each in (
            commands.Basic.Deliver("consumer", 1, False, "jettythunder.events", "asset.deleted"),
            header.ContentHeader(
                body_size=4, properties=commands.Basic.Properties(message_id="id", headers={"x": 1})
            ),
            ContentBody(b"body"),
            ContentBody(b"bo"),
        )
    ),
    heartbeat.Heartbeat().marshal(),
    b"\xce",
]
DELIVERY_FRAMES.append(b"".join(DELIVERY_FRAMES[:3]))
TOKEN_LETTERS = [
    "A",
    "z",
    "0",
    "-",
    "_",
    ".",
    "=",
    "\0",
    " ",
    "é",
    "\ud800",
    MINTED,
    MINTED[:20],
    MINTED[-20:],
]


def a_form_however_it_is_cut(chance: random.Random) -> None:
    body = joined(chance, FRAGMENTS, most=25) if chance.random() < 0.9 else any_bytes(chance, most=200)
    places = sorted(chance.randrange(len(body) + 1) for _ in range(chance.randrange(12)))
    parts, error = parse(body[begin:end] for begin, end in pairwise([0, *places, len(body)]))
    whole_parts, whole_error = parse([body])
    assert error is whole_error, body
    if error is not MalformedForm:
        assert parts == whole_parts, body


FORM = Form(
    Request({"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=" + BOUNDARY)]}),
    timeout_seconds=1,
)
DISPOSITIONS = [
    "form-data",
    ";",
    " ",
    "filename",
    "filename*",
    "filename*0",
    "filename*1*",
    "name",
    "=",
    '"',
    "\\",
    "file",
    "utf-8''",
    "UTF-8'de'",
    "iso-8859-1''",
    "utf-16''",
    "%D1%84",
    "%ff",
    "%",
    "%00",
    "\0",
    "../",
    "\\..\\",
    "a.txt",
    "é",
    "\u202e",
    "\x85",
    "'",
    "x" * 300,
]


def a_part_s_file_name(chance: random.Random) -> None:
    disposition = joined(chance, DISPOSITIONS) if chance.random() < 0.9 else any_text(chance)
    try:
        part = Part(FORM, {"content-disposition": disposition})
    except MalformedForm:
        return
    assert isinstance(part.name, str)
    safe = names.safe_filename(part.filename)
    assert 0 < len(safe.encode()) <= 255
    assert not set(safe) & set("/\\\0\r\n")


def a_file_name_in_a_header(chance: random.Random) -> None:
    filename = names.safe_filename(any_text(chance, most=300 if chance.random() < 0.1 else 20))
    given = names.content_disposition("attachment", filename)
    assert given.isascii()
    assert given.isprintable()
    kind, options = parse_options_header(given)
    assert (kind, options["filename"]) == ("attachment", filename)
    assert names.safe_filename(filename) == filename


def a_content_type(chance: random.Random) -> None:
    pieces = [
        "text",
        "/",
        "html",
        ";",
        " ",
        "charset",
        "=",
        '"',
        "\\",
        "utf-8",
        "\r\n",
        "\t",
        "é",
        "\0",
        "+",
        ",",
    ]
    given = names.content_type_of(joined(chance, pieces), "name")
    assert given.isascii()
    assert not set(given) & set("\r\n\0")


def an_edge_token(chance: random.Random) -> None:
    given = mutated(chance, MINTED, TOKEN_LETTERS) if chance.random() < 0.9 else any_text(chance)
    try:
        assert edge_tokens.read(KEYS.verifying, given) == TOKEN
    except (LinkInvalid, LinkExpired):
        assert given != MINTED
    else:
        assert given == MINTED


LINK = f"{UUID(int=1)}\n1\n{int(time.time()) + 86_400}"
SIGNATURE = KEYS.sign(STREAM_LINK, LINK)


def a_signed_link(chance: random.Random) -> None:
    signature = mutated(chance, SIGNATURE, TOKEN_LETTERS) if chance.random() < 0.9 else any_text(chance)
    # A signature that can't be written as UTF-8 comes from no URL.
    signature = signature.encode("utf-8", "replace").decode()
    link = LINK if chance.random() < 0.8 else mutated(chance, LINK, TOKEN_LETTERS)
    is_ours = (signature, link) == (SIGNATURE, LINK)
    try:
        KEYS.verifying.check(STREAM_LINK, link, signature)
    except LinkInvalid:
        assert not is_ours
    else:
        assert is_ours


MOMENTS = [
    "2026-05-01T12:00:00+00:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999-14:00",
    "2026-05-01",
    "2026-W01-1T00:00:00Z",
    "",
    "\0",
    "\ud800",
]
PLACES: list[object] = [
    *MOMENTS,
    "6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10",
    "0" * 32,
    "x",
    None,
    1,
    1.5,
    True,
    [],
    {},
    [[]],
    10**50,
]
CURSOR_BYTES = [
    b"[",
    b"]",
    b'"',
    b",",
    b"{",
    b"null",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"9" * 500,
    b"[" * 300,
    b"NaN",
    b"1e999",
]


def a_cursor(chance: random.Random) -> None:
    place = json.dumps(chance.choices(PLACES, k=chance.choice([0, 1, 2, 2, 2, 2, 3]))).encode()
    raw = mutated(chance, place, CURSOR_BYTES)
    text = base64.urlsafe_b64encode(raw).decode()
    given = mutated(chance, text, ["=", "-", "_", "+", "/", " ", "é", "\ud800", "\0"])
    with contextlib.suppress(InvalidField):
        moment, row_id = paging.read_cursor(given)
        assert isinstance(moment, datetime)
        assert isinstance(row_id, UUID)
        # The database takes it in UTC.
        moment.astimezone(UTC)


COMPLETED = (GOLDEN / "jettythunder.upload.completed.v1.json").read_bytes()
EVENTS = [path.read_bytes() for path in sorted(GOLDEN.glob("*.json"))]
JSON_BYTES = [
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"null", b"true", b"-1", b"1e999", b"NaN", b"\xff", b"\0"),
    *(b"\\ud800", b"\\u0000", b'"data"', b'"type"', b'"id"', b'"1.0"', b"[" * 300, b"9" * 5000),
    *(b"0001-01-01T00:00:00+14:00", b"9999-12-31T23:59:59-14:00"),
]


def an_event(chance: random.Random) -> None:
    body = chance.choice(EVENTS)
    body = mutated(chance, body, JSON_BYTES) if chance.random() < 0.9 else any_bytes(chance)
    types = [payload.TYPE for payload in USAGE_METER_EVENTS.payloads]
    routing_key = chance.choice([*types, USAGE_METER_EVENTS.name, "", "\ud800"])
    with contextlib.suppress(MalformedEvent, UnknownEventType):
        event = decode(USAGE_METER_EVENTS, body, routing_key=routing_key, headers={})
        assert isinstance(event, Event)
        # What was taken can be sent on.
        event.encode()


# Headers as AMQP writes them (https://www.rabbitmq.com/amqp-0-9-1-errata.html), and pieces of them.
HEADERS = b"\x0dx-jt-attemptsI\x00\x00\x00\x05\x07x-deathA\x00\x00\x00\x00\x01aS\x00\x00\x00\x02aa\x01nV"
HEADER_BYTES = [
    *(bytes([kind]) for kind in b"VtbBsuIifDlLdTSAFx\x00"),
    *(
        b"\x00\x00\x00\x05",
        b"\xff\xff\xff\xff",
        b"\xff\xfe",
        b"\x0dx-jt-attempts",
        b"\x15x-jt-first-failed-at",
    ),
    *(
        b"F\x00\x00\x00\x05\x01aF\x00\x00",
        b"T" + b"\xff" * 8,
        b"d\x7f\xf0" + b"\x00" * 6,
        b"S\x00\x00\x00\x02\xff\xfe",
    ),
]


def an_event_s_amqp_properties(chance: random.Random) -> None:
    table = mutated(chance, HEADERS, HEADER_BYTES)
    raw = struct.pack(">HI", 8192, len(table)) + table
    payload = struct.pack(">HxxQ", 60, 0) + raw
    _, _, decoded = frame.unmarshal(struct.pack(">BHI", 2, 1, len(payload)) + payload + b"\xce")
    assert isinstance(decoded, header.ContentHeader)
    headers = decoded.properties.headers or {}
    assert failure_of(headers).attempts >= 0
    sendable(without_failure(headers), most_bytes=16_000)
    with contextlib.suppress(MalformedEvent):
        decode(USAGE_METER_EVENTS, COMPLETED, routing_key=USAGE_METER_EVENTS.name, headers=headers)
        assert UNDECODABLE not in headers


RANGES = [
    "bytes",
    "=",
    "-",
    ",",
    " ",
    "\t",
    "0",
    "1",
    "99",
    "100",
    "9" * 30,
    "9" * 5000,
    "items",
    "+",
    "_",
    "é",
    "٣",
]


def deliveries_however_they_are_cut(chance: random.Random) -> None:
    stream = mutated(chance, joined(chance, DELIVERY_FRAMES, most=8), DELIVERY_FRAMES)
    places = sorted(chance.randrange(len(stream) + 1) for _ in range(chance.randrange(6)))
    at_once, cut = Deliveries(), Deliveries()
    at_once.feed(stream)
    for begin, end in pairwise([0, *places, len(stream)]):
        cut.feed(stream[begin:end])
    assert cut.taken == at_once.taken


class Deliveries:
    """What is taken from a connection until its bytes are not as AMQP says."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []
        self._reader = DeliveryReader(self.taken.append, LOOP)

    def feed(self, data: bytes) -> None:
        self._reader.feed_data(data)
        assert isinstance(self._reader.exception(), InvalidFrameError | None)


def a_range(chance: random.Random) -> None:
    size_bytes = chance.choice([0, 1, 100, 2**63])
    given = joined(chance, RANGES, most=10)
    given = f"bytes={given}" if chance.random() < 0.7 else given
    with contextlib.suppress(RangeNotSatisfiable):
        found = parse_range(given, size_bytes)
        assert found is None or 0 <= found.start <= found.end < size_bytes


VALIDATORS = [
    *('"', "W/", "w/", "*", ",", " ", "etag", '"etag"', 'W/"etag"', "\\", "é", "\x80", "\0"),
    *("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"),
    *("Fri, 31 Dec 9999 23:59:59 -1400", "Mon, 01 Jan 0001 00:00:00 +1400", "9" * 20, "GMT", ":"),
]
CONDITIONS = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"]


def conditions(chance: random.Random) -> None:
    chosen = chance.sample(CONDITIONS, chance.randrange(1, 4))
    headers = {name: joined(chance, VALIDATORS, most=5) for name in chosen}
    asked = Conditions(headers, etags=["etag"], modified_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert isinstance(asked.let_range_apply(), bool)
    with contextlib.suppress(PreconditionFailed):
        assert isinstance(asked.are_met_already(), bool)


TARGETS = [
    a_form_however_it_is_cut,
    a_part_s_file_name,
    a_file_name_in_a_header,
    a_content_type,
    an_edge_token,
    a_signed_link,
    a_cursor,
    an_event,
    an_event_s_amqp_properties,
    deliveries_however_they_are_cut,
    a_range,
    conditions,
]
targets = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.__name__)


def fuzz(target: Callable[[random.Random], None], seeds: range) -> None:
    """Give a target one input of each seed."""
    chance = random.Random()
    for seed in seeds:
        chance.seed(seed)
        try:
            target(chance)
        except Exception as error:
            raise AssertionError(f"{target.__name__} fails with the seed {seed}") from error


@targets
def test_inputs_are_understood_or_refused(target: Callable[[random.Random], None]) -> None:
    fuzz(target, range(FEW))


@pytest.mark.deep
@pytest.mark.timeout(3600)
@targets
def test_a_million_inputs_are_understood_or_refused(target: Callable[[random.Random], None]) -> None:
    begin = random.SystemRandom().randrange(2**62)
    fuzz(target, range(begin, begin + MANY))
