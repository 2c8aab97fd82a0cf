"""A consumer of one queue with many small messages: they are applied, and acknowledged, in batches.

A task, a context and an acknowledgement for each message would cost more than the messages themselves, so
this one speaks to the AMQP client directly. Guarantees given here, beside those of the other consumer:

* A batch is acknowledged after it was applied as a whole. A crash in between repeats it; the inbox makes
  that harmless.
* A message that fails does so alone: a failed batch is halved until what fails is a single message. It waits
  here until the broker has confirmed its copy, and holds up no other.
* While the database can't be reached the batch is held and applied again, so an outage makes no dead letters.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage
from prometheus_client import Histogram

from jettythunder import telemetry, tracing
from jettythunder.broker import topology
from jettythunder.broker.connection import CONNECTION_ERRORS
from jettythunder.broker.decoding import decode
from jettythunder.broker.deliveries import Delivery, Receiving
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.settling import Delivered, Settler, count_messages
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.contracts.envelope import AnyPayload, Event, Payload
from jettythunder.errors import BrokerUnavailable, DatabaseUnavailable, UnknownEventType

log = telemetry.logger(__name__)

Item = TypeVar("Item")

_RECONNECT_SECONDS = 0.5
# Messages come quickly where so many arrive while one waits for others.
_QUICKLY = 2
_MOST_LINGERS = 5
_HOLD_SECONDS = 0.5
_LOST: tuple[type[BaseException], ...] = (BrokerUnavailable, *CONNECTION_ERRORS)

_sizes = Histogram(
    "jettythunder_batch_size",
    "Messages applied in one batch",
    ["queue"],
    buckets=(1, 5, 20, 50, 100, 200, 500, 1000, 2000),
)


class _Decoded(NamedTuple, Generic[Item]):
    """A message, and the item it became."""

    message: Delivery
    event: Event[Any]
    item: Item


class _Failed(NamedTuple):
    """A message that became no item, or whose item could not be applied."""

    message: Delivery
    error: Exception
    event: Event[Any] | None = None


_Arrived: TypeAlias = _Decoded[Item] | _Failed


class BatchConsumer(Generic[Item]):
    """Consumes one queue until it is closed, over a connection of its own that comes back.

    Args:
        publisher: for retries and dead letters; on another connection.
        apply: applies all the items or, raising, none of them.
        batch_size: how many messages a batch has at most. Twice as many are in flight: one batch arrives
            while another is applied.
        linger_seconds: how long the first message of a batch waits for others; five times as long while
            several come in that time.
    """

    def __init__(
        self,
        url: str,
        publisher: Publisher,
        *,
        queue: ConsumerQueue,
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
        self._parsers: dict[type[Payload], Callable[[Any], Item]] = {}
        self._arrived: list[_Arrived[Item]] = []
        self._applying = 0
        self._failures: _Failures | None = None
        self._changed = asyncio.Event()
        self._closing = False
        self._consuming = False
        self._lost = False
        self._is_behind = False
        self._task: asyncio.Task[None] | None = None

    def on(self, payload: type[AnyPayload], parse: Callable[[Event[AnyPayload]], Item]) -> None:
        """Let messages of this type become items."""
        self._parsers[payload] = parse

    @property
    def unapplied(self) -> int:
        """How many messages it has received and neither applied nor set aside yet."""
        unsettled = self._failures.unsettled if self._failures is not None else 0
        return len(self._arrived) + self._applying + unsettled

    @property
    def is_behind(self) -> bool:
        """Whether the last batch was full, so that more messages may wait."""
        return self._is_behind

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
            self._url,
            transport_factory=Receiving(self._on_message),
            client_properties={"connection_name": f"{self._queue.name} batches"},
        )
        try:
            channel = await connection.channel(publisher_confirms=False)
            channel.closing.add_done_callback(lambda _: self._lose())
            # The queue was deleted: whoever makes it anew knows nothing of this consumer.
            channel.on_consumer_cancel_callbacks.add(lambda _: self._lose())
            self._arrived = []
            await channel.basic_qos(prefetch_count=2 * self._batch_size)
            self._lost = False
            consuming = await channel.basic_consume(self._queue.name, _ignore)
            self._consuming = not self._lost
            async with _Failures(channel, self._settle) as failures:
                self._failures = failures
                while not self._lost and not self._closing:
                    await self._take_batch(channel, failures)
                if self._lost:
                    raise BrokerUnavailable
                await channel.basic_cancel(str(consuming.consumer_tag))
                while self._arrived:
                    await self._take_batch(channel, failures)
                await failures.settled()
        finally:
            self._consuming = False
            await connection.close()

    def _lose(self) -> None:
        self._lost, self._consuming, self._is_behind = True, False, False
        self._changed.set()

    def _on_message(self, message: Delivery) -> None:
        # Decoded as it arrives, while the batch before it is with the database.
        self._arrived.append(self._decoded(message))
        if len(self._arrived) in (1, self._batch_size):
            self._changed.set()

    async def _take_batch(self, channel: AbstractChannel, failures: "_Failures") -> None:
        if not self._arrived:
            self._is_behind = False
            self._changed.clear()
            await self._changed.wait()
        await self._linger()
        batch, self._arrived = self._arrived[: self._batch_size], self._arrived[self._batch_size :]
        self._applying = len(batch)
        self._is_behind = len(batch) == self._batch_size
        try:
            if batch and not self._lost:
                await self._process(batch, channel, failures)
        finally:
            self._applying = 0

    async def _linger(self) -> None:
        """Wait for others; longer where they come quickly, since a batch costs as much as many messages."""
        for _ in range(_MOST_LINGERS):
            arrived = len(self._arrived)
            if arrived >= self._batch_size or self._closing:
                return
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._linger_seconds):
                    await self._changed.wait()
            if self._lost or len(self._arrived) - arrived < _QUICKLY:
                return

    def _decoded(self, message: Delivery) -> _Arrived[Item]:
        event = None
        try:
            event = decode(
                self._queue,
                message.body,
                routing_key=message.routing_key,
                headers=message.properties.headers or {},
            )
            parse = self._parsers.get(type(event.data))
            if parse is None:
                raise UnknownEventType(f"{self._queue.name} has no parser for {event.type[:100]!r}.")
            return _Decoded(message, event, parse(event))
        except Exception as error:
            # Whatever failed: a message that is not kept here would be acknowledged with those around it.
            return _Failed(message, error, event)

    async def _process(
        self, batch: list[_Arrived[Item]], channel: AbstractChannel, failures: "_Failures"
    ) -> None:
        _sizes.labels(self._queue.name).observe(len(batch))
        failed = [arrived for arrived in batch if isinstance(arrived, _Failed)]
        items = [arrived for arrived in batch if isinstance(arrived, _Decoded)]
        if items:
            with telemetry.correlated(None), self._traced(items) as span:
                unapplied = await self._apply_items(items)
                if unapplied:
                    span.fail(type(unapplied[0].error).__name__)
            failed += unapplied
        if not failed and not failures.unsettled:
            await channel.basic_ack(batch[-1].message.tag, multiple=True)
            return
        # An acknowledgement of all up to a tag would include the failed ones.
        kept = {each.message.tag for each in failed}
        for arrived in batch:
            if arrived.message.tag not in kept:
                await channel.basic_ack(arrived.message.tag)
        failures.add(failed)

    def _traced(self, items: list[_Decoded[Item]]) -> tracing.Span:
        if tracing.active is None:
            return tracing.UNRECORDED
        return tracing.active.processing_batch(
            self._queue.name,
            [each.event for each in items],
            is_replayed=any(
                topology.REPLAY_HEADER in (each.message.properties.headers or {}) for each in items
            ),
        )

    async def _apply_items(self, items: list[_Decoded[Item]]) -> list[_Failed]:
        """Apply all that can be applied; the others."""
        failure = await self._try(items)
        if failure is None:
            for event_type, count in Counter(each.event.type for each in items).items():
                count_messages(self._queue, event_type, "processed", count)
            return []
        if len(items) == 1:
            return [_Failed(items[0].message, failure, items[0].event)]
        middle = len(items) // 2
        return [*await self._apply_items(items[:middle]), *await self._apply_items(items[middle:])]

    async def _try(self, items: list[_Decoded[Item]]) -> Exception | None:
        while True:
            try:
                await self._apply([each.item for each in items])
            except DatabaseUnavailable as error:
                if self._closing:
                    raise BrokerUnavailable from error
                log.warning("batch waits: the database can't be reached", error_type=type(error).__name__)
                await asyncio.sleep(_HOLD_SECONDS)
            except Exception as error:
                return error
            else:
                return None

    async def _settle(self, failed: _Failed) -> None:
        message, event = failed.message, failed.event
        properties = message.properties
        with telemetry.correlated(event.correlation if event else None):
            delivered = Delivered(
                body=message.body,
                exchange=message.exchange,
                routing_key=message.routing_key,
                event_type=event.type if event else str(properties.message_type or ""),
                message_id=str(properties.message_id or ""),
                headers=properties.headers or {},
                reply_to=properties.reply_to,
                correlation_id=properties.correlation_id,
                content_type=properties.content_type or "",
            )
            await self._settler.settle(delivered, failed.error)


async def _ignore(_: DeliveredMessage) -> None:
    """A consumer's callback, which the client wants to have; its messages are taken out before."""


class _Failures:
    """Failed messages of a channel, settled one after the other beside the batches that go on.

    While publishers are blocked they wait here, unacknowledged: as many as the channel prefetches at most.
    """

    def __init__(self, channel: AbstractChannel, settle: Callable[[_Failed], Awaitable[None]]) -> None:
        self._channel = channel
        self._settle = settle
        self._queue: asyncio.Queue[_Failed] = asyncio.Queue()
        self.unsettled = 0

    def add(self, failed: Sequence[_Failed]) -> None:
        """Have these settled."""
        self.unsettled += len(failed)
        for each in failed:
            self._queue.put_nowait(each)

    async def settled(self) -> None:
        """Wait until all are."""
        await self._queue.join()

    async def __aenter__(self) -> "_Failures":
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._channel.is_closed:
            failed = await self._queue.get()
            while not self._channel.is_closed:
                try:
                    await self._settle(failed)
                    await self._channel.basic_ack(failed.message.tag)
                except Exception as error:
                    log.warning("failed message waits", error_type=type(error).__name__)
                    await asyncio.sleep(_HOLD_SECONDS)
                else:
                    break
            self.unsettled -= 1
            self._queue.task_done()
