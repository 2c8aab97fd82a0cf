"""Request and reply over direct reply-to: many calls in flight, each with its own time-out."""

import asyncio
from uuid import uuid4

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher, envelope
from jettythunder.contracts.envelope import Payload
from jettythunder.errors import BrokerUnavailable

# RabbitMQ's pseudo-queue: replies go straight to the consuming channel and are kept nowhere
# (https://www.rabbitmq.com/docs/direct-reply-to).
_DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"


class RpcClient:
    """Sends commands and waits for their replies.

    The reply queue belongs to this instance and holds nothing when it goes, so replies may carry secrets.
    """

    def __init__(self, url: str, *, name: str) -> None:
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._link = BrokerLink(url, name=name, on_open=self._listen)
        self._publisher = Publisher(self._link)

    async def _listen(self, channel: AbstractChannel) -> None:
        queue = await channel.declare_queue(_DIRECT_REPLY_TO, passive=True)
        await queue.consume(self._on_reply, no_ack=True)
        channel.close_callbacks.add(self._on_closed)

    def _on_closed(self, *_: object) -> None:
        # Replies under way are lost with the channel; waiting for them would only be waiting.
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(BrokerUnavailable())

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        waiting = self._waiting.get(message.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(message.body)

    async def call(self, command: Payload, *, exchange: str, source: str, timeout_seconds: float) -> bytes:
        """Send ``command`` and return the body of its reply.

        Raises:
            TimeoutError: no reply in time; the command may still be carried out.
            BrokerUnavailable: the command could not be published, or the connection that the reply would
                have come over was lost.
        """
        correlation = uuid4().hex
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[correlation] = waiting
        event = envelope(command, exchange=exchange, source=source)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._publisher.publish(
                    event.encode(),
                    exchange=exchange,
                    routing_key=event.type,
                    event_type=event.type,
                    message_id=str(event.id),
                    reply_to=_DIRECT_REPLY_TO,
                    correlation_id=correlation,
                )
                return await waiting
        finally:
            del self._waiting[correlation]

    async def close(self) -> None:
        """Close the connection; calls in flight fail at once."""
        self._on_closed()
        await self._link.close()
