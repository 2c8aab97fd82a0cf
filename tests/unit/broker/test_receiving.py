"""A connection of aiormq's whose deliveries are taken out, to a broker that says its part of the protocol."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiormq
import pytest
from aiormq.abc import DeliveredMessage
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPConnectionError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pamqp import commands, frame
from pamqp.body import ContentBody
from pamqp.frame import FrameTypes
from pamqp.header import ContentHeader

from jettythunder.broker.deliveries import Delivery, Receiving

COUNT = 500
ANSWERS: dict[type[FrameTypes], FrameTypes] = {
    commands.Connection.StartOk: commands.Connection.Tune(channel_max=9, frame_max=131_072, heartbeat=60),
    commands.Connection.Open: commands.Connection.OpenOk(),
    commands.Connection.Close: commands.Connection.CloseOk(),
    commands.Channel.Open: commands.Channel.OpenOk(),
    commands.Channel.Close: commands.Channel.CloseOk(),
    commands.Basic.Consume: commands.Basic.ConsumeOk("consumer"),
}


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say a broker's part, and deliver to each consumer."""
    await reader.readexactly(8)
    capabilities = {"capabilities": {"publisher_confirms": True}}
    start = commands.Connection.Start(server_properties=capabilities, mechanisms="PLAIN")  # type: ignore[arg-type]
    writer.write(frame.marshal(start, 0))
    frames = FrameReceiver(reader)
    while True:
        _, channel, asked = await frames.get_frame()
        if type(asked) in ANSWERS:
            writer.write(frame.marshal(ANSWERS[type(asked)], channel))
        if isinstance(asked, commands.Basic.Consume):
            for tag in range(1, COUNT + 1):
                body = b"%d" % tag
                method = commands.Basic.Deliver("consumer", tag, False, "events", "key")
                for each in (method, ContentHeader(body_size=len(body)), ContentBody(body)):
                    writer.write(frame.marshal(each, channel))
        if isinstance(asked, commands.Connection.Close):
            writer.close()
            return


@asynccontextmanager
async def broker(tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A broker that listens; its port."""
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]


def certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that is its own authority, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "broker.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return path


async def ignore(_: DeliveredMessage) -> None:
    """A consumer that is never called."""


async def bodies_from(url: str) -> list[bytes]:
    """What a consumer receives."""
    taken: list[Delivery] = []
    all_taken = asyncio.Event()

    def take(delivery: Delivery) -> None:
        taken.append(delivery)
        if len(taken) == COUNT:
            all_taken.set()

    async with asyncio.timeout(60):
        connection = await aiormq.connect(url, transport_factory=Receiving(take))
        try:
            channel = await connection.channel(publisher_confirms=False)
            await channel.basic_consume("queue", ignore)
            await all_taken.wait()
        finally:
            await connection.close()
    return [delivery.body for delivery in taken]


EXPECTED = [b"%d" % tag for tag in range(1, COUNT + 1)]


async def test_what_is_delivered_is_taken_in_its_order() -> None:
    async with broker() as port:
        assert await bodies_from(f"amqp://guest:guest@127.0.0.1:{port}/") == EXPECTED


async def test_a_connection_may_be_encrypted(tmp_path: Path) -> None:
    path = certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(path)
    async with broker(tls) as port:
        url = f"amqps://guest:guest@127.0.0.1:{port}/"
        assert await bodies_from(f"{url}?cafile={path}") == EXPECTED
        with pytest.raises(AMQPConnectionError):
            await bodies_from(url)


async def test_a_broker_that_does_not_listen_is_a_connection_error() -> None:
    async with broker() as port:
        pass
    with pytest.raises(AMQPConnectionError):
        await bodies_from(f"amqp://guest:guest@127.0.0.1:{port}/")
