"""A service's side of the broker: its handlers, its publisher and its relay, opened and closed as one."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import svcs
from faststream.rabbit import RabbitRouter

from jettythunder import telemetry
from jettythunder.broker.batches import BatchConsumer
from jettythunder.broker.connection import CONNECTION_ERRORS, BrokerLink, declare_topology
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.settling import count_from_zero
from jettythunder.broker.subscribers import make_broker
from jettythunder.broker.topology import ConsumerQueue, ServiceMessages
from jettythunder.database import Database
from jettythunder.errors import BrokerUnavailable
from jettythunder.lifecycle import Periodic, wait_for
from jettythunder.outbox import inbox
from jettythunder.outbox.relay import Relay
from jettythunder.settings import ServiceSettings

log = telemetry.logger(__name__)

Item = TypeVar("Item")

_KEEP_INBOX_SECONDS = 3600.0

_BROKER = "the broker (RABBITMQ_URL)"


class Messaging:
    """Messages in and out of a service. Make it with :func:`open_messaging`."""

    def __init__(
        self,
        settings: ServiceSettings,
        database: Database,
        *,
        messages: ServiceMessages,
        routers: Sequence[RabbitRouter],
        context: Mapping[str, object],
    ) -> None:
        service = messages.service
        self._database = database
        self._has_consumers = bool(messages.queues)
        self._keep_days = settings.inbox_keep_days
        self._keeping = Periodic("keep-inbox", self._keep_inbox, interval_seconds=_KEEP_INBOX_SECONDS)
        self._url = settings.rabbitmq_url.get_secret_value()
        self._retry_delays_ms = settings.retry_delays_ms
        self._link = BrokerLink(self._url, name=f"{service} publisher")
        self.publisher = Publisher(self._link)
        self._relay_link = BrokerLink(self._url, name=f"{service} relay")
        self._relay = Relay(database, Publisher(self._relay_link))
        self._broker = make_broker(
            self._url,
            self.publisher,
            routers,
            retry_delays_ms=settings.retry_delays_ms,
        )
        self._drain_seconds = settings.drain_seconds
        self._is_drained = False
        for queue in messages.queues:
            count_from_zero(queue)
        for name, dependency in context.items():
            self._broker.context.set_global(name, dependency)

    def batch_consumer(
        self,
        queue: ConsumerQueue,
        apply: Callable[[Sequence[Item]], Awaitable[None]],
        *,
        batch_size: int,
        linger_seconds: float,
    ) -> BatchConsumer[Item]:
        """A consumer of ``queue`` that applies messages in batches; whoever makes it starts and closes it."""
        return BatchConsumer(
            self._url,
            self.publisher,
            queue=queue,
            apply=apply,
            batch_size=batch_size,
            linger_seconds=linger_seconds,
            retry_delays_ms=self._retry_delays_ms,
        )

    async def queue_depths(self, *queues: str) -> dict[str, int]:
        """How many messages wait in queues.

        Raises:
            BrokerUnavailable: the broker did not say.
        """
        return await self._link.depths(*queues)

    async def start(self) -> None:
        """Let messages flow, in and out. Returns when they do.

        Raises:
            SystemExit: with a sentence, if the broker can't be reached for half a minute.
        """
        await wait_for(_BROKER, self._start_handlers)
        # A broker that restarts takes connections before the event log's stream takes messages.
        await wait_for(_BROKER, self.ping)
        self._relay.start()
        if self._has_consumers:
            self._keeping.start()

    async def ping(self) -> None:
        """Raises BrokerUnavailable unless the broker takes and gives messages now."""
        await self._link.ping()
        if not await self._broker.ping(timeout=2):
            raise BrokerUnavailable

    async def drain(self) -> None:
        """Take no more messages, and let handlers finish; where this is cancelled, they hand theirs back."""
        self._is_drained = True
        await self._broker.drain()

    async def close(self) -> None:
        """Let handlers finish, publish what they committed, and disconnect."""
        if not self._is_drained:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._drain_seconds):
                    await self.drain()
        await self._keeping.close()
        await self._broker.stop()
        await self._relay.close()
        await self._relay_link.close()
        await self._link.close()

    async def _keep_inbox(self) -> None:
        dropped = await inbox.keep(self._database, keep_days=self._keep_days)
        if dropped:
            log.info("processed events forgotten", partitions=dropped, keep_days=self._keep_days)

    async def _start_handlers(self) -> None:
        try:
            await self._broker.start()
        except CONNECTION_ERRORS as error:
            # Only a stopped one can be started anew.
            with contextlib.suppress(*CONNECTION_ERRORS):
                await self._broker.stop()
            raise BrokerUnavailable from error


async def open_messaging(
    registry: svcs.Registry,
    settings: ServiceSettings,
    database: Database,
    *,
    messages: ServiceMessages,
    routers: Sequence[RabbitRouter] = (),
    context: Mapping[str, object] | None = None,
) -> Messaging:
    """Declare what the service needs on the broker, and register its messaging, to be started last.

    Args:
        routers: the handlers of the service's queues.
        context: what handlers ask for with ``Context``, by name.

    Raises:
        SystemExit: with a sentence, if the broker can't be reached for half a minute.
    """
    await wait_for(_BROKER, lambda: declare_topology(settings, messages.queues))
    messaging = Messaging(settings, database, messages=messages, routers=routers, context=context or {})
    registry.register_value(Messaging, messaging, ping=Messaging.ping, on_registry_close=messaging.close)
    return messaging
