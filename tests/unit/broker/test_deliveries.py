"""Deliveries are taken out of a connection's bytes, however these are cut; all other frames stay aiormq's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiormq.connection import FrameReceiver
from aiormq.exceptions import InvalidFrameError
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader
from pamqp.heartbeat import Heartbeat
from tests.support.raw_amqp import BAD_PROPERTIES

from jettythunder.broker.deliveries import Delivery, DeliveryReader
from jettythunder.broker.properties import UNDECODABLE

HEARTBEAT = Heartbeat().marshal()


def method(tag: int = 7) -> FrameTypes:
    return commands.Basic.Deliver("consumer", tag, False, "jettythunder.events", "asset.deleted")


def content(body_size: int) -> FrameTypes:
    properties = commands.Basic.Properties(message_id="id", message_type="type", headers={"x": 1})
    return ContentHeader(body_size=body_size, properties=properties)


def framed(*frames: FrameTypes, channel: int = 1) -> bytes:
    return b"".join(frame.marshal(each, channel) for each in frames)


def delivered(body: bytes, *, tag: int = 7, parts: int = 1) -> bytes:
    """A delivery as the broker writes it, its body in so many frames."""
    size = -(-len(body) // parts) or 1
    bodies = [ContentBody(body[at : at + size]) for at in range(0, len(body), size)]
    return framed(method(tag), content(len(body)), *bodies)


class Received:
    """What became of bytes that were read from a connection in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.deliveries: list[Delivery] = []
        self.reader = DeliveryReader(self.deliveries.append, asyncio.get_running_loop())
        for piece in pieces:
            self.reader.feed_data(piece)

    @property
    def bodies(self) -> list[bytes]:
        return [delivery.body for delivery in self.deliveries]

    async def others(self) -> bytes:
        """What is left for aiormq, with nothing more to come."""
        self.reader.feed_eof()
        return await self.reader.read()

    async def failure(self) -> InvalidFrameError:
        """What aiormq closes the connection for."""
        frames = FrameReceiver(self.reader)
        with pytest.raises(InvalidFrameError) as raised:
            async with asyncio.timeout(5):
                while True:
                    await frames.get_frame()
        return raised.value


async def test_a_delivery_has_what_its_frames_say() -> None:
    (delivery,) = Received(delivered(b"the body")).deliveries
    assert (delivery.tag, delivery.exchange, delivery.routing_key, delivery.body) == (
        7,
        "jettythunder.events",
        "asset.deleted",
        b"the body",
    )
    assert delivery.properties == commands.Basic.Properties(
        message_id="id", message_type="type", headers={"x": 1}
    )


@pytest.mark.parametrize("parts", [1, 2, 4])
async def test_a_stream_may_be_cut_anywhere(parts: int) -> None:
    start = framed(commands.Connection.OpenOk(), channel=0)
    ok = framed(commands.Basic.QosOk(), commands.Basic.ConsumeOk("consumer"))
    stream = start + ok + delivered(b"first", parts=parts) + HEARTBEAT + delivered(b"", tag=8) + ok
    for at in range(len(stream) + 1):
        received = Received(stream[:at], stream[at:])
        assert received.bodies == [b"first", b""], at
        assert (await received.others()).replace(HEARTBEAT, b"") == start + ok + ok, at


async def test_a_stream_may_come_byte_by_byte() -> None:
    stream = b"".join(delivered(bytes(20 + tag), tag=tag) for tag in range(3))
    received = Received(*(stream[at : at + 1] for at in range(len(stream))))
    assert [delivery.tag for delivery in received.deliveries] == [0, 1, 2]


async def test_many_deliveries_may_come_at_once_and_show_that_the_connection_lives() -> None:
    received = Received(b"".join(delivered(b"%d" % tag, tag=tag) for tag in range(100)))
    assert received.bodies == [b"%d" % tag for tag in range(100)]
    assert await received.others() == HEARTBEAT


async def test_frames_of_the_connection_may_stand_between_those_of_a_delivery() -> None:
    blocked = framed(commands.Connection.Blocked("memory"), channel=0)
    stream = framed(method()) + HEARTBEAT + framed(content(2)) + blocked + framed(ContentBody(b"ab"))
    received = Received(stream)
    assert received.bodies == [b"ab"]
    assert await received.others() == HEARTBEAT + blocked


@pytest.mark.parametrize(("named", "properties"), BAD_PROPERTIES)
async def test_properties_that_are_not_valid_are_named(
    named: str, properties: commands.Basic.Properties
) -> None:
    (delivery,) = Received(framed(method(), ContentHeader(properties=properties))).deliveries
    assert (delivery.properties.headers or {})[UNDECODABLE] == named


async def test_properties_may_have_a_second_word_of_flags() -> None:
    header = bytearray(framed(content(0)))
    # The first word of flags says that another one follows it; that has none.
    flags_at = 7 + 12
    header[flags_at + 1] |= 1
    header[flags_at + 2 : flags_at + 2] = b"\0\0"
    header[6] += 2
    (delivery,) = Received(framed(method()) + bytes(header)).deliveries
    assert delivery.properties.message_id == "id"


def with_a_wrong_end(frames: bytes) -> bytes:
    return frames[:-1] + b"\0"


def cut_short(frames: bytes) -> bytes:
    """A frame with half of its payload, and its size as if that were all."""
    payload = frames[7:-1][: (len(frames) - 8) // 2]
    return frames[:3] + len(payload).to_bytes(4, "big") + payload + frames[-1:]


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([with_a_wrong_end(framed(method()))], id="a method with a wrong end"),
        pytest.param([with_a_wrong_end(delivered(b"body"))], id="a body with a wrong end"),
        pytest.param([b"\x05" + framed(method())[1:]], id="an unknown kind of frame"),
        pytest.param([cut_short(framed(method()))], id="a method that ends too early"),
        pytest.param([framed(method()), cut_short(framed(content(0)))], id="a header that ends too early"),
        pytest.param([framed(method(), method())], id="a method instead of the header"),
        pytest.param([framed(method(), ContentBody(b"body"))], id="a body without a header"),
        pytest.param([framed(method(), content(9), content(9))], id="a header instead of the body"),
    ],
)
async def test_what_is_not_as_amqp_says_ends_the_connection(pieces: Sequence[bytes]) -> None:
    before = delivered(b"before")
    received = Received(before, *pieces, delivered(b"after"))
    assert received.bodies == [b"before"]
    await received.failure()
