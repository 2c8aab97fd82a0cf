"""Publish a sign-up and print the account, with its credentials, that comes back.

    RABBITMQ_URL=amqp://user:password@host:5672/ python sign_up.py --user-id test-123 --email test@example.com

Repeat it with the same --event-id, or with none: the account and its credentials stay the same.
"""

import argparse
import asyncio
import json
import os
import sys
import uuid
from datetime import UTC, datetime

import aio_pika
import aio_pika.exceptions

EXCHANGE = "agentcache.events"
SIGNED_UP = "agentcache.user.signed_up.v1"


def cloud_event(event_id: uuid.UUID, *, user_id: str, email: str, tier: str) -> bytes:
    """The event in its CloudEvents envelope. Publish a failed event again under the id it had."""
    envelope = {
        "specversion": "1.0",
        "id": str(event_id),
        "source": "/agentcache",
        "type": SIGNED_UP,
        "time": datetime.now(UTC).isoformat(),
        "data": {"user_id": user_id, "email": email, "tier": tier},
    }
    return json.dumps(envelope).encode()


async def sign_up(url: str, body: bytes, *, event_id: uuid.UUID, timeout_seconds: float) -> bytes:
    """Publish the event and return the body of its reply.

    Raises:
        TimeoutError: nothing came back in time; publishing the same event again is safe.
    """
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
        # Exclusive: only this connection reads it, and it is gone with the connection.
        replies = await channel.declare_queue(f"agentcache.replies.{uuid.uuid4()}", exclusive=True)
        message = aio_pika.Message(
            body,
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            message_id=str(event_id),
            type=SIGNED_UP,
            reply_to=replies.name,
            correlation_id=str(event_id),
        )
        events = await channel.get_exchange(EXCHANGE, ensure=False)
        await events.publish(message, routing_key=SIGNED_UP, mandatory=True)
        async with asyncio.timeout(timeout_seconds), replies.iterator() as arriving:
            async for reply in arriving:
                await reply.ack()
                if reply.correlation_id == str(event_id):
                    return reply.body
    raise ConnectionError("the connection closed before the reply came")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--user-id", required=True)
    parser.add_argument("--email", required=True)
    parser.add_argument("--tier", default="pro", help="free, starter, pro, business or enterprise")
    parser.add_argument("--event-id", type=uuid.UUID, default=None, help="a UUID; a new one by default")
    parser.add_argument("--timeout-seconds", type=float, default=30)
    given = parser.parse_args()
    event_id = given.event_id or uuid.uuid4()
    body = cloud_event(event_id, user_id=given.user_id, email=given.email, tier=given.tier)
    url = os.environ.get("RABBITMQ_URL", "amqp://guest:guest@localhost:5672/")
    try:
        reply = asyncio.run(sign_up(url, body, event_id=event_id, timeout_seconds=given.timeout_seconds))
    except TimeoutError:
        sys.exit(f"No reply within {given.timeout_seconds:g} s. Try again with --event-id {event_id}")
    except aio_pika.exceptions.PublishError:
        sys.exit(f"Nothing listens to {SIGNED_UP}: has JettyThunder been started once?")
    except (aio_pika.exceptions.AMQPError, OSError) as error:
        sys.exit(f"RABBITMQ_URL does not lead to a broker that lets this user in: {error}")
    sys.stdout.write(json.dumps(json.loads(reply), indent=2) + "\n")


if __name__ == "__main__":
    main()
