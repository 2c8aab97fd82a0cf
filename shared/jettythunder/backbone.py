"""What every service opens and closes: the database, the broker's two connections, and the outbox relay."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from faststream.rabbit import RabbitRouter

from jettythunder import database, telemetry
from jettythunder.broker.batches import BatchConsumer
from jettythunder.broker.connection import CONNECTION_ERRORS as BROKER_ERRORS
from jettythunder.broker.connection import BrokerLink, EventLogLost, declare_topology
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.subscribers import make_broker
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.database import Pool
from jettythunder.errors import BrokerUnavailable, StorageUnavailable
from jettythunder.outbox.relay import Relay
from jettythunder.settings import ServiceSettings
from jettythunder.web import Ping

log = telemetry.logger(__name__)

_START_ATTEMPTS = 30
_NOT_THERE_YET: tuple[type[BaseException], ...] = (
    BrokerUnavailable,
    StorageUnavailable,
    *database.CONNECTION_ERRORS,
)

Opened = TypeVar("Opened")
Item = TypeVar("Item")


class Backbone:
    """The servers behind a service, open. Make one with :func:`open_backbone`."""

    def __init__(
        self, settings: ServiceSettings, *, name: str, pool: Pool, routers: Sequence[RabbitRouter] = ()
    ) -> None:
        self._url = url = settings.rabbitmq_url.get_secret_value()
        self.name = name
        self.pool = pool
        self._link = BrokerLink(url, name=f"{name} publisher")
        self.publisher = Publisher(self._link)
        self.broker = make_broker(
            url,
            self.publisher,
            routers,
            retry_delays_ms=settings.retry_delays_ms,
            graceful_timeout_seconds=settings.shutdown_timeout_seconds,
        )
        self.relay = Relay(pool, url, name=name)
        self._retry_delays_ms = settings.retry_delays_ms

    def provide(self, **dependencies: object) -> None:
        """What handlers ask for with ``Context``, by name; before :meth:`start`."""
        for name, dependency in dependencies.items():
            self.broker.context.set_global(name, dependency)

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

    async def start(self) -> None:
        """Let messages flow, in and out.

        Raises:
            SystemExit: with a sentence, if the broker stays away for half a minute.
        """
        await patiently("the broker (RABBITMQ_URL)", self._start_consumers)
        self.relay.start()

    async def _start_consumers(self) -> None:
        try:
            await self.broker.start()
        except BROKER_ERRORS as error:
            # Only a stopped one can be started anew.
            with contextlib.suppress(*BROKER_ERRORS):
                await self.broker.stop()
            raise BrokerUnavailable from error

    @property
    def pings(self) -> dict[str, Ping]:
        """What /readyz asks."""
        return {"database": lambda: database.ping(self.pool), "broker": self._ping_broker}

    async def depths(self, *queues: str) -> dict[str, int]:
        """How many messages wait in queues.

        Raises:
            BrokerUnavailable: the broker did not say.
        """
        return await self._link.depths(*queues)

    async def _ping_broker(self) -> None:
        await self._link.ping()
        if not await self.broker.ping(timeout=2):
            raise BrokerUnavailable

    async def close(self) -> None:
        """Let handlers finish, publish what they committed, and close."""
        log.info("shutting down: what is in flight is finished first")
        await self.broker.stop()
        await self.relay.close()
        await self._link.close()


@contextlib.asynccontextmanager
async def open_backbone(
    settings: ServiceSettings,
    *,
    name: str,
    queues: Sequence[ConsumerQueue] = (),
    routers: Sequence[RabbitRouter] = (),
) -> AsyncIterator[Backbone]:
    """Connect, declare the topology, and close in the right order at the end.

    Args:
        queues: the service's own; those of others are theirs to declare.
        routers: the handlers of these queues.

    Raises:
        SystemExit: with a sentence, if the database or the broker stays away for half a minute.
    """
    telemetry.configure(name, settings)
    pool = await patiently("the database (DATABASE_URL)", lambda: _connect(settings, name))
    try:
        await patiently("the broker (RABBITMQ_URL)", lambda: declare_topology(settings, queues))
        backbone = Backbone(settings, name=name, pool=pool, routers=routers)
        try:
            yield backbone
        finally:
            await backbone.close()
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await pool.close()


async def _connect(settings: ServiceSettings, name: str) -> Pool:
    return await database.connect(str(settings.database_url), size=settings.database_pool_size, name=name)


async def patiently(what: str, attempt: Callable[[], Awaitable[Opened]]) -> Opened:
    """Servers and services start in any order, so a server that is not there yet is waited for.

    Raises:
        SystemExit: with a sentence that says what to do, if it stays away for half a minute.
    """
    for _ in range(_START_ATTEMPTS):
        try:
            return await attempt()
        except _NOT_THERE_YET as error:
            failure = error
            log.warning("waiting", what=what, error_type=type(error).__name__)
            await asyncio.sleep(1)
    if isinstance(failure, EventLogLost):
        raise SystemExit(
            f"{failure.detail} Restart the broker (RABBITMQ_URL); if that does not help, have the stream "
            "made anew as docs/operations.md says, then start again."
        )
    raise SystemExit(f"Can't reach {what}: check the address and that the server runs, then start again.")
