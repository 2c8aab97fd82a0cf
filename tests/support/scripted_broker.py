"""A broker that takes messages and answers each as a test says, where no real one does so on demand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Literal

import pamqp.frame
from pamqp import body, commands, header
from pamqp.common import FieldTable

from jettythunder.broker import topology

# "ack all" confirms what came before too, and "hang up" closes the connection without a word.
Answer = Literal["ack", "ack all", "nack", "return", "nothing", "hang up"]

# The least that AMQP allows, so that bodies of some kilobytes take several frames.
FRAME_MAX_BYTES = 4096


@dataclass
class Published:
    """A message as it came over the wire."""

    tag: int
    method: commands.Basic.Publish
    header: header.ContentHeader
    frame_sizes: list[int] = field(default_factory=list)
    body: bytes = b""

    @property
    def message_id(self) -> str:
        return self.header.properties.message_id or ""


def always_ack(_: Published) -> Answer:
    """The answer of a broker that works."""
    return "ack"


class ScriptedBroker:
    """What was published to it so far, and how it answers."""

    def __init__(self, frame_max_bytes: int) -> None:
        self.url = ""
        self._frame_max_bytes = frame_max_bytes
        self.published: list[Published] = []
        self.answer: Callable[[Published], Answer] = always_ack
        self.connections = 0
        self._writer: asyncio.StreamWriter | None = None

    @property
    def message_ids(self) -> list[str]:
        return [each.message_id for each in self.published]

    def send(self, *frames: pamqp.frame.FrameTypes, channel: int = 1) -> None:
        """Send frames over the newest connection."""
        assert self._writer is not None
        for each in frames:
            self._writer.write(pamqp.frame.marshal(each, channel))

    def confirm(self, published: Published) -> None:
        """Confirm a message that was not answered before."""
        self.send(commands.Basic.Ack(delivery_tag=published.tag))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak the protocol until the client is gone, or is hung up on."""
        self.connections += 1
        self._writer = writer
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._speak(reader)
        writer.close()

    async def _speak(self, reader: asyncio.StreamReader) -> None:
        await reader.readexactly(8)
        capabilities: FieldTable = {"publisher_confirms": True, "basic.nack": True}
        self.send(
            commands.Connection.Start(
                version_major=0,
                version_minor=9,
                server_properties={"capabilities": capabilities},
                mechanisms="PLAIN",
                locales="en_US",
            ),
            channel=0,
        )
        tag, coming = 0, None
        while True:
            channel, size, frame = await _frame(reader)
            match frame:
                case commands.Connection.StartOk():
                    tune = commands.Connection.Tune(
                        channel_max=10, frame_max=self._frame_max_bytes, heartbeat=0
                    )
                    self.send(tune, channel=0)
                case commands.Connection.Open():
                    self.send(commands.Connection.OpenOk(), channel=0)
                case commands.Connection.Close():
                    self.send(commands.Connection.CloseOk(), channel=0)
                    return
                case commands.Channel.Open():
                    self.send(commands.Channel.OpenOk(), channel=channel)
                case commands.Confirm.Select():
                    self.send(commands.Confirm.SelectOk(), channel=channel)
                case commands.Basic.Publish():
                    tag, method = tag + 1, frame
                case header.ContentHeader():
                    coming = Published(tag, method, frame)
                case body.ContentBody():
                    assert coming is not None
                    coming.body += frame.value
                    coming.frame_sizes.append(size)
            if coming is not None and len(coming.body) == coming.header.body_size:
                if not self._answer(coming):
                    return
                coming = None

    def _answer(self, message: Published) -> bool:
        """Answer a message; False ends the connection."""
        if message.method.exchange == topology.LOG_PROBES:
            self.confirm(message)
            return True
        self.published.append(message)
        match self.answer(message):
            case "ack":
                self.confirm(message)
            case "ack all":
                self.send(commands.Basic.Ack(delivery_tag=message.tag, multiple=True))
            case "nack":
                self.send(commands.Basic.Nack(delivery_tag=message.tag))
            case "return":
                returned = commands.Basic.Return(
                    reply_code=312, reply_text="NO_ROUTE", routing_key=message.method.routing_key
                )
                self.send(returned, message.header, body.ContentBody(message.body))
                self.confirm(message)
            case "hang up":
                return False
        return True


async def _frame(reader: asyncio.StreamReader) -> tuple[int, int, pamqp.frame.FrameTypes]:
    """The next frame, with its channel and its size on the wire."""
    head = await reader.readexactly(7)
    size = int.from_bytes(head[3:], "big")
    data = head + await reader.readexactly(size + 1)
    _, channel, frame = pamqp.frame.unmarshal(data)
    return channel, len(data), frame


@contextlib.asynccontextmanager
async def scripted_broker(*, frame_max_bytes: int = FRAME_MAX_BYTES) -> AsyncIterator[ScriptedBroker]:
    """A broker on a free port; frames may have any size where their most is 0."""
    broker = ScriptedBroker(frame_max_bytes)
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.url = f"amqp://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield broker
    finally:
        server.close()
