"""A consumer of one queue with many small messages: they are applied, and acknowledged, in batches.

A task, a context and an acknowledgement for each message would cost more than the messages themselves, so
this one speaks to the AMQP client directly. Guarantees given here, beside those of the other consumer:

* A batch is acknowledged after it was applied as a whole. A crash in between repeats it; the inbox makes
  that harmless.
* A message that fails does so alone: a failed batch is halved until what fails is a single message.
* While the database is away the batch is held and applied again, so an outage makes no dead letters.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from prometheus_client import Histogram

from jettythunder import telemetry, topology
from jettythunder.broker.connection import CONNECTION_ERRORS
from jettythunder.broker.consumer import AnyPayload, Failed, Routes, Settler, count_messages
from jettythunder.broker.publisher import Publisher, Unroutable
from jettythunder.contracts.envelope import Event
from jettythunder.database import CONNECTION_ERRORS as DATABASE_ERRORS
from jettythunder.errors import BrokerUnavailable

log = telemetry.logger(__name__)

Item = TypeVar("Item")

_RECONNECT_SECONDS = 0.5
_HOLD_SECONDS = 0.5
_LOST: tuple[type[BaseException], ...] = (BrokerUnavailable, Unroutable, *CONNECTION_ERRORS)

_sizes = Histogram(
    "jettythunder_batch_size",
    "Messages applied in one batch",
    ["queue"],
    buckets=(1, 5, 20, 50, 100, 200, 500, 1000),
)


@dataclass(frozen=True, slots=True)
class _Decoded(Generic[Item]):
    """A message, and the item it became."""

    message: DeliveredMessage
    event: Event[Any]
    item: Item


@dataclass(frozen=True, slots=True)
class _Undecoded:
    """A message that became no item."""

    message: DeliveredMessage
    error: Exception


_Arrived: TypeAlias = _Decoded[Item] | _Undecoded


class BatchConsumer(Generic[Item]):
    """Consumes one queue until it is closed, over a connection of its own that comes back.

    Args:
        publisher: for retries and dead letters; on another connection.
        apply: applies all the items or, raising, none of them.
        batch_size: how many messages a batch has at most. Twice as many are in flight: one batch arrives
            while another is applied.
        linger_seconds: how long the first message of a batch waits for others.
    """

    def __init__(
        self,
        url: str,
        publisher: Publisher,
        *,
        queue: topology.ConsumerQueue,
        apply: Callable[[Sequence[Item]], Awaitable[None]],
        batch_size: int,
        linger_seconds: float,
        retry_delays_ms: Sequence[int],
    ) -> None:
        self._url = url
        self._queue = queue
        self._apply = apply
        self._batch_size = batch_size
        self._linger_seconds = linger_seconds
        self._settler = Settler(publisher, queue, retry_delays_ms=retry_delays_ms)
        self._routes = Routes[Item](queue)
        self._arrived: list[_Arrived[Item]] = []
        self._changed = asyncio.Event()
        self._closing = False
        self._consuming = False
        self._task: asyncio.Task[None] | None = None

    def on(self, payload: type[AnyPayload], parse: Callable[[Event[AnyPayload]], Item]) -> None:
        """Let messages of this type become items."""
        self._routes.add(payload, parse)

    def start(self) -> None:
        """Run in the background."""
        self._task = asyncio.create_task(self._run_forever())

    async def ping(self) -> None:
        """Raises BrokerUnavailable unless it consumes now."""
        if not self._consuming:
            raise BrokerUnavailable

    async def close(self, *, timeout_seconds: float) -> None:
        """Apply what has arrived, and stop; what is not applied in time goes back to the queue."""
        self._closing = True
        self._changed.set()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError, TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._task

    async def _run_forever(self) -> None:
        while not self._closing:
            try:
                await self._consume()
            except _LOST as error:
                log.warning(
                    "consumer lost its broker", queue=self._queue.name, error_type=type(error).__name__
                )
            except Exception as error:
                log.error("consumer failed", queue=self._queue.name, exc_info=error)
            if not self._closing:
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _consume(self) -> None:
        connection = await aiormq.connect(
            self._url, client_properties={"connection_name": f"{self._queue.name} batches"}
        )
        try:
            channel = await connection.channel()
            channel.closing.add_done_callback(lambda _: self._changed.set())
            self._arrived = []
            await channel.basic_qos(prefetch_count=2 * self._batch_size)
            consuming = await channel.basic_consume(self._queue.name, self._on_message)
            self._consuming = True
            while not self._closing and not channel.is_closed:
                await self._take_batch(channel)
            if not channel.is_closed:
                await channel.basic_cancel(str(consuming.consumer_tag))
                while self._arrived:
                    await self._take_batch(channel)
        finally:
            self._consuming = False
            await connection.close()

    async def _on_message(self, message: DeliveredMessage) -> None:
        # Decoded as it arrives, while the batch before it is with the database.
        self._arrived.append(self._decoded(message))
        if len(self._arrived) in (1, self._batch_size):
            self._changed.set()

    async def _take_batch(self, channel: AbstractChannel) -> None:
        if not self._arrived:
            self._changed.clear()
            await self._changed.wait()
        if len(self._arrived) < self._batch_size and not self._closing:
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._linger_seconds):
                    await self._changed.wait()
        batch, self._arrived = self._arrived[: self._batch_size], self._arrived[self._batch_size :]
        if batch and not channel.is_closed:
            await self._process(batch)
            # Everything up to the last delivery of this batch was applied or set aside.
            await channel.basic_ack(_tag(batch[-1].message), multiple=True)

    def _decoded(self, message: DeliveredMessage) -> _Arrived[Item]:
        try:
            event, parse = self._routes.decode(message.body)
            return _Decoded(message, event, parse(event))
        except Exception as error:
            # Whatever it was: a message without a trace here would be acknowledged with those around it.
            return _Undecoded(message, error)

    async def _process(self, batch: list[_Arrived[Item]]) -> None:
        _sizes.labels(self._queue.name).observe(len(batch))
        for arrived in batch:
            if isinstance(arrived, _Undecoded):
                event_type = str(arrived.message.header.properties.message_type or "")
                await self._settle(arrived.message, event_type, arrived.error)
        items = [arrived for arrived in batch if isinstance(arrived, _Decoded)]
        if items:
            with telemetry.correlated(None):
                await self._apply_items(items)

    async def _apply_items(self, items: list[_Decoded[Item]]) -> None:
        failure = await self._try(items)
        if failure is None:
            for event_type, count in Counter(each.event.type for each in items).items():
                count_messages(self._queue, event_type, "processed", count)
        elif len(items) == 1:
            (failed,) = items
            with telemetry.correlated(failed.event.correlationid or str(failed.event.id)):
                await self._settle(failed.message, failed.event.type, failure)
        else:
            middle = len(items) // 2
            await self._apply_items(items[:middle])
            await self._apply_items(items[middle:])

    async def _try(self, items: list[_Decoded[Item]]) -> Exception | None:
        while True:
            try:
                await self._apply([each.item for each in items])
            except DATABASE_ERRORS as error:
                if self._closing:
                    raise BrokerUnavailable from error
                log.warning("batch waits: the database can't be reached", error_type=type(error).__name__)
                await asyncio.sleep(_HOLD_SECONDS)
            except Exception as error:
                return error
            else:
                return None

    async def _settle(self, message: DeliveredMessage, event_type: str, error: Exception) -> None:
        properties = message.header.properties
        failed = Failed(
            body=message.body,
            event_type=event_type,
            message_id=str(properties.message_id or ""),
            headers=properties.headers or {},
            reply_to=properties.reply_to,
            correlation_id=properties.correlation_id,
            content_type=properties.content_type or "",
        )
        await self._settler.settle(failed, error)


def _tag(message: DeliveredMessage) -> int:
    tag = message.delivery_tag
    assert tag is not None  # noqa: S101 - every delivery has one
    return tag
