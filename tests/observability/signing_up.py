"""Events of AgentCache, as it publishes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from uuid import uuid4

from jettythunder.broker import topology
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher
from jettythunder.contracts.agentcache import UserSignedUpV1


def publish_sign_ups(rabbitmq_url: str, count: int) -> None:
    """So many users sign up."""
    users = [
        UserSignedUpV1(user_id=f"waits-{uuid4().hex}", email="a@example.com", tier="pro")
        for _ in range(count)
    ]
    asyncio.run(_publish(rabbitmq_url, [_event(user) for user in users]))


def publish_broken_event(rabbitmq_url: str) -> None:
    """One user signs up in a way that no version of the event's schema is."""
    asyncio.run(_publish(rabbitmq_url, [b"{}"]))


def _event(data: UserSignedUpV1) -> bytes:
    head = {"specversion": "1.0", "id": str(uuid4()), "source": "/agentcache", "type": data.TYPE}
    return json.dumps({**head, "data": data.model_dump()}).encode()


async def _publish(rabbitmq_url: str, bodies: Sequence[bytes]) -> None:
    link = BrokerLink(rabbitmq_url, name="sign-ups")
    try:
        publisher = Publisher(link, timeout_seconds=60)
        await publisher.connect()
        for body in bodies:
            await publisher.publish(
                body,
                exchange=topology.AGENTCACHE_EVENTS,
                routing_key=UserSignedUpV1.TYPE,
                event_type=UserSignedUpV1.TYPE,
                message_id=str(uuid4()),
            )
    finally:
        await link.close()
