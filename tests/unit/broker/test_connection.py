"""Losing the broker costs one attempt to come back, however many publishes wait."""

from __future__ import annotations

import asyncio

from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher
from jettythunder.errors import BrokerUnavailable


async def test_publishes_at_once_share_one_attempt_to_connect() -> None:
    connections = 0

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = BrokerLink(f"amqp://127.0.0.1:{port}/", name="test")
    publisher = Publisher(link)

    async def publish(number: int) -> None:
        await publisher.publish(b"", exchange="x", routing_key="x", event_type="x", message_id=str(number))

    async with server:
        failures = await asyncio.gather(*map(publish, range(200)), return_exceptions=True)
        await link.close()
    assert {type(failure) for failure in failures} == {BrokerUnavailable}
    assert connections == 1
