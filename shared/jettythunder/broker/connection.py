"""Connections: one that is opened again whenever it is lost, and short ones for a single purpose."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aio_pika
import aiormq.exceptions
from aio_pika.abc import AbstractChannel, AbstractConnection

from jettythunder import telemetry
from jettythunder.broker import topology
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.errors import BrokerUnavailable
from jettythunder.settings import BrokerSettings

log = telemetry.logger(__name__)

CONNECTION_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    RuntimeError,
    aiormq.exceptions.AMQPError,
    aiormq.exceptions.ChannelInvalidStateError,
)

Opened = Callable[[AbstractChannel], Awaitable[None]]


# The broker writes down which quorum queues and streams it has up to a second after it made them. If it
# crashes before, it comes back without them.
_REGISTER_SECONDS = 2.0

# A broker that has just started, or makes a virtual host anew, accepts connections long before it answers.
_DECLARE_SECONDS = 30.0


_LOG_DIFFERS = (
    "Set EVENT_LOG_MAX_AGE and EVENT_LOG_MAX_BYTES to what it was made with, and change them by a policy: "
    "deleting it would lose its history (docs/operations.md, Months)."
)
_QUEUE_DIFFERS = (
    "Empty and delete it there, or give JettyThunder a virtual host of its own, then start again."
)


class EventLogLost(BrokerUnavailable):
    """The broker runs, but the event log's stream did not come back with it."""


class BrokerLink:
    """One AMQP connection with one confirming channel, opened again whenever it is lost.

    Guarantee: :meth:`channel` hands out a channel only after the event log has confirmed a probe. After a
    broker restart AMQP opens before streams recover, and a publish through an exchange in that gap is
    confirmed by the queues but missing from the log.
    """

    def __init__(self, url: str, *, name: str, on_open: Opened | None = None) -> None:
        self._url = url
        self._name = name
        self._on_open = on_open
        self._connection: AbstractConnection | None = None
        self._channel: AbstractChannel | None = None
        self._opening: asyncio.Task[AbstractChannel] | None = None

    async def channel(self) -> AbstractChannel:
        """The open channel; connects where there is none.

        All who ask meanwhile share one attempt and its failure: hundreds of publishes that each tried anew,
        one after the other, would hold a relay up long after the broker is back.

        Raises:
            BrokerUnavailable: if the broker can't be reached within five seconds.
        """
        channel = self._channel
        if channel is not None and not channel.is_closed:
            return channel
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._on_opened)
        attempt = self._opening
        try:
            return await asyncio.shield(attempt)
        except BrokerUnavailable as error:
            raise type(error) from error
        except asyncio.CancelledError:
            # The link was closed while this caller waited, who was not cancelled.
            if attempt.cancelled():
                raise BrokerUnavailable from None
            raise

    def _on_opened(self, attempt: asyncio.Task[AbstractChannel]) -> None:
        self._opening = None
        if not attempt.cancelled():
            attempt.exception()

    async def _open(self) -> AbstractChannel:
        await self._drop()
        try:
            async with asyncio.timeout(5):
                connection = await aio_pika.connect(
                    self._url, client_properties={"connection_name": self._name}
                )
                self._connection = connection
                channel = await connection.channel(publisher_confirms=True, on_return_raises=True)
                await _probe(channel)
                if self._on_open is not None:
                    await self._on_open(channel)
                self._channel = channel
                return channel
        except CONNECTION_ERRORS as error:
            await self._drop()
            raise BrokerUnavailable from error
        except EventLogLost:
            await self._drop()
            raise

    async def ping(self) -> None:
        """Raises BrokerUnavailable unless the broker answers now."""
        channel = await self.channel()
        try:
            async with asyncio.timeout(2):
                await channel.declare_queue(topology.EVENT_LOG, passive=True)
        except CONNECTION_ERRORS as error:
            raise BrokerUnavailable from error

    async def depths(self, *queues: str) -> dict[str, int]:
        """How many messages wait in queues.

        Raises:
            BrokerUnavailable: the broker did not say.
        """
        channel = await self.channel()
        try:
            async with asyncio.timeout(5):
                declared = {name: await channel.declare_queue(name, passive=True) for name in queues}
        except CONNECTION_ERRORS as error:
            raise BrokerUnavailable from error
        return {name: int(queue.declaration_result.message_count or 0) for name, queue in declared.items()}

    async def close(self) -> None:
        """Close the connection; an open one is made again by the next use."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        await self._drop()

    async def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(*CONNECTION_ERRORS, asyncio.CancelledError):
                async with asyncio.timeout(2):
                    await connection.close()


async def _probe(channel: AbstractChannel) -> None:
    try:
        probes = await channel.get_exchange(topology.LOG_PROBES, ensure=False)
        await probes.publish(
            aio_pika.Message(b"", type=topology.LOG_PROBE, expiration=None),
            routing_key="",
            mandatory=True,
            timeout=2,
        )
    except TimeoutError as error:
        raise EventLogLost from error


@contextlib.asynccontextmanager
async def connected(url: str, *, name: str) -> AsyncIterator[AbstractConnection]:
    """A connection that is not opened again, shown in the broker under ``name``; closed at the end.

    Raises:
        BrokerUnavailable: if the broker can't be reached within five seconds.
    """
    try:
        async with asyncio.timeout(5):
            connection = await aio_pika.connect(url, client_properties={"connection_name": name})
    except CONNECTION_ERRORS as error:
        raise BrokerUnavailable from error
    try:
        yield connection
    finally:
        with contextlib.suppress(*CONNECTION_ERRORS):
            await connection.close()


async def declare_topology(settings: BrokerSettings, queues: Sequence[ConsumerQueue]) -> None:
    """Declare the shared part of the topology, and these queues, over a connection of its own.

    What is declared must be there before a :class:`BrokerLink` opens. Returns when it outlives a crash of the
    broker; at the first time that takes two seconds. A user who may not declare finds it declared.

    Raises:
        BrokerUnavailable: if the broker can't be reached, or has not done it within half a minute, or lacks
            what its user may not declare.
        EventLogLost: if the broker has the log's stream but can't reach it.
        SystemExit: with a sentence, if the broker has one of the queues or exchanges with other settings.
    """
    try:
        url = settings.rabbitmq_url.get_secret_value()
        async with asyncio.timeout(_DECLARE_SECONDS), await aio_pika.connect(url) as connection:
            is_new = not await _has_log(connection)
            try:
                await topology.declare(await connection.channel(), settings, queues)
            except aiormq.exceptions.ChannelAccessRefused:
                await _check_declared(connection, queues)
        if is_new:
            await asyncio.sleep(_REGISTER_SECONDS)
    except aiormq.exceptions.ChannelPreconditionFailed as error:
        raise SystemExit(
            f"The broker (RABBITMQ_URL) has a queue or exchange of ours with other settings: {error}. "
            + (_LOG_DIFFERS if f"'{topology.EVENT_LOG}'" in str(error) else _QUEUE_DIFFERS)
        ) from None
    except CONNECTION_ERRORS as error:
        lost = isinstance(error, aiormq.exceptions.ChannelNotFoundEntity) and topology.EVENT_LOG in str(error)
        raise (EventLogLost if lost else BrokerUnavailable) from error


async def _check_declared(connection: AbstractConnection, queues: Sequence[ConsumerQueue]) -> None:
    try:
        await topology.check_declared(await connection.channel(), queues)
    except aiormq.exceptions.ChannelNotFoundEntity as error:
        raise BrokerUnavailable(
            f"The broker lacks what the user of RABBITMQ_URL may not declare: {error}. Run "
            "`jettythunder broker declare` as a user who may."
        ) from error


async def _has_log(connection: AbstractConnection) -> bool:
    channel = await connection.channel()
    try:
        await channel.declare_queue(topology.EVENT_LOG, passive=True)
    except aiormq.exceptions.ChannelNotFoundEntity:
        return False
    await channel.close()
    return True
