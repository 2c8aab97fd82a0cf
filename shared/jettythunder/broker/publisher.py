"""Publishing with confirms: a call that returns means the broker has the message."""

from collections.abc import Mapping
from typing import cast

import aio_pika
from aio_pika import DeliveryMode
from aio_pika.abc import HeadersType
from aio_pika.exceptions import PublishError
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError

from jettythunder import telemetry, tracing
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
        """Publish one message and wait for its confirm.

        ``mandatory`` is off for replies only: RabbitMQ returns those to direct reply-to although they arrive.

        Raises:
            Unroutable: no queue is bound for it.
            BrokerUnavailable: no confirm within the time-out; the message may still arrive.
        """
        message = aio_pika.Message(
            body,
            delivery_mode=DeliveryMode.PERSISTENT,
            content_type=content_type,
            type=event_type,
            message_id=message_id,
            headers=cast("HeadersType | None", headers),
            reply_to=reply_to,
            correlation_id=correlation_id,
            expiration=expiration_seconds,
        )
        try:
            channel = cast("Channel", await (await self._link.channel()).get_underlay_channel())
            # Not waiting for the socket to drain lets many calls share one write; their confirms bound them.
            await channel.basic_publish(
                body,
                exchange=exchange,
                routing_key=routing_key,
                properties=message.properties,
                mandatory=mandatory,
                timeout=self._timeout_seconds,
                wait=False,
            )
        except PublishError as error:
            raise Unroutable(routing_key) from error
        except DeliveryError as error:
            raise BrokerUnavailable from error
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
