"""Publishing with confirms: a call that returns means the broker has the message."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import cast

from aiormq.channel import Channel

from jettythunder import telemetry, tracing
from jettythunder.broker.confirms import Message, publish_confirmed
from jettythunder.broker.connection import CONNECTION_ERRORS, BrokerLink
from jettythunder.contracts.envelope import CONTENT_TYPE, Event, Payload
from jettythunder.errors import BrokerUnavailable
from jettythunder.ids import new_id


class Unroutable(Exception):
    """No queue takes a message with this routing key."""


class Publisher:
    """Publishes to exchanges, mandatory and confirmed, over a connection that consumes nothing.

    A shared connection would stop consuming when the broker raises a memory alarm against publishers.
    """

    def __init__(self, link: BrokerLink, *, timeout_seconds: float = 5) -> None:
        self._link = link
        self._timeout_seconds = timeout_seconds

    async def connect(self) -> None:
        """Connect, where there is no open connection.

        Raises:
            BrokerUnavailable: the broker can't be reached.
        """
        await self._link.channel()

    async def publish(
        self,
        body: bytes,
        *,
        exchange: str,
        routing_key: str,
        event_type: str,
        message_id: str,
        headers: Mapping[str, object] | None = None,
        reply_to: str | None = None,
        correlation_id: str | None = None,
        expiration_seconds: float | None = None,
        content_type: str = CONTENT_TYPE,
        mandatory: bool = True,
    ) -> None:
        """Publish one :class:`Message` and wait for its confirm.

        Raises:
            Unroutable: no queue is bound for it.
            BrokerUnavailable: no confirm within the time-out; the message may still arrive.
        """
        message = Message(
            body,
            exchange=exchange,
            routing_key=routing_key,
            event_type=event_type,
            message_id=message_id,
            headers=headers,
            reply_to=reply_to,
            correlation_id=correlation_id,
            expiration_seconds=expiration_seconds,
            content_type=content_type,
            mandatory=mandatory,
        )
        if await self.publish_all([message]):
            raise Unroutable(routing_key)

    async def publish_all(self, messages: Sequence[Message]) -> set[str]:
        """Publish messages in their order, in one write, and wait until each is confirmed.

        Returns:
            The ids of those that no queue is bound for.

        Raises:
            BrokerUnavailable: one was refused, or not confirmed within the time-out; any may still arrive.
        """
        if not messages:
            return set()
        try:
            channel = cast("Channel", await (await self._link.channel()).get_underlay_channel())
            async with asyncio.timeout(self._timeout_seconds):
                return await publish_confirmed(channel, messages)
        except CONNECTION_ERRORS as error:
            raise BrokerUnavailable from error

    async def send(self, payload: Payload, *, exchange: str, source: str) -> None:
        """Publish a payload in a new envelope, with the correlation of the moment."""
        event = envelope(payload, exchange=exchange, source=source)
        await self.publish(
            event.encode(),
            exchange=exchange,
            routing_key=event.type,
            event_type=event.type,
            message_id=str(event.id),
        )


def envelope(payload: Payload, *, exchange: str, source: str) -> Event[Payload]:
    """Put a payload in its envelope, with the correlation, causation and trace of the moment."""
    event_id, correlation = new_id(), telemetry.correlation_id.get()
    context: Mapping[str, str] = {}
    if tracing.active is not None:
        context = tracing.active.creation_context(
            exchange, payload.TYPE, event_id, correlation=correlation, account=payload
        )
    return Event[Payload](
        id=event_id,
        source=source,
        type=payload.TYPE,
        subject=payload.about,
        correlationid=correlation,
        causationid=telemetry.causation_id.get(),
        traceparent=context.get("traceparent"),
        tracestate=context.get("tracestate"),
        data=payload,
    )
