"""Handlers as FastStream subscribers, and the guarantees that a broker middleware gives every one of them.

A queue's handlers are a module-level router::

    router = RabbitRouter()
    commands = router.subscriber(**consumes(PROVISIONING_COMMANDS, prefetch=32))

    @commands(filter=of_type(ProvisionAccountV1))
    async def on_provision(event: Event[ProvisionAccountV1], accounts: Annotated[Accounts, Context()]) -> ...:

Guarantees given here:

* A message leaves its queue only when its handler has returned, or when a copy of it is confirmed in a
  wait queue or in the dead letters. A crash in between repeats the message; the inbox makes that harmless.
* Every message is settled, whatever fails: it is acknowledged, or goes back to its queue after a pause.
* A failure is tried again at once, then as :mod:`jettythunder.broker.settling` says.
* What the handler returns answers ``reply_to``, which is a private queue of the caller or gets nothing, since
  replies may carry secrets. A command whose caller waits is answered with its failure instead of a retry.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, cast

from aio_pika import IncomingMessage
from faststream import AckPolicy, BaseMiddleware, ContextRepo
from faststream.exceptions import SubscriberNotFound
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue, RabbitRouter
from faststream.rabbit.message import RabbitMessage
from faststream.rabbit.subscriber import RabbitSubscriber
from prometheus_client import Histogram
from pydantic import BaseModel, ValidationError

from jettythunder import telemetry, tracing
from jettythunder.broker import topology
from jettythunder.broker.connection import CONNECTION_ERRORS
from jettythunder.broker.decoding import decode
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.settling import (
    ATTEMPTS,
    Delivered,
    Settler,
    count_messages,
    is_retryable,
    small_count,
)
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.contracts.envelope import Event, Payload
from jettythunder.contracts.replies import Denied
from jettythunder.drain import UnderWay
from jettythunder.errors import JettyThunderError, ShuttingDown, UnknownEventType

log = telemetry.logger(__name__)

IMMEDIATE_ATTEMPTS = 2

# Before a message goes back to its queue: each delivery counts towards the limit of the queue.
_LONGEST_PAUSE_SECONDS = 30.0

_RECONNECT_SECONDS = 0.5

_seconds = Histogram("jettythunder_message_seconds", "Time in the handler", ["queue", "type"])


class _SubscribedQueue(RabbitQueue):
    """A queue that exists, and what its consumer takes from it."""

    __slots__ = ("consumed",)

    def __init__(self, consumed: ConsumerQueue) -> None:
        super().__init__(consumed.name, declare=False)
        self.consumed = consumed


def consumes(queue: ConsumerQueue, *, prefetch: int) -> dict[str, Any]:
    """The arguments of a router's ``subscriber`` for a queue.

    Args:
        prefetch: how many messages are in flight at once; each runs in its own task.
    """

    async def decoded(message: RabbitMessage) -> Event[Any]:
        raw = message.raw_message
        return decode(queue, message.body, routing_key=raw.routing_key or "", headers=message.headers)

    return {
        "queue": _SubscribedQueue(queue),
        # For the description of the messages only: the queue is declared and bound before.
        "exchange": described_exchange(queue.exchange),
        "channel": Channel(prefetch_count=prefetch),
        "ack_policy": AckPolicy.MANUAL,
        "no_reply": True,
        "decoder": decoded,
        "title": queue.name,
    }


def described_exchange(name: str) -> RabbitExchange:
    """An exchange of ours, as FastStream describes it; it declares none."""
    return RabbitExchange(name, type=ExchangeType(topology.EXCHANGE_TYPES[name]), durable=True, declare=False)


def of_type(payload: type[Payload]) -> Callable[[RabbitMessage], Any]:
    """A handler's filter: the messages whose body says that they are of this type."""

    async def is_of_type(message: RabbitMessage) -> bool:
        event = cast("Event[Any]", await message.decode())
        return event.type == payload.TYPE

    return is_of_type


class ServiceBroker(RabbitBroker):
    """A broker whose consumers can be ended while their handlers finish. Make it with :func:`make_broker`."""

    guarantees: "Guarantees"

    async def drain(self) -> None:
        """Take no more messages, hand back those whose handlers have not begun, and wait for the others.

        Where this is cancelled, they are handed back too. (FastStream's own stop waits first, while messages
        still arrive that nobody handles.)
        """
        # In this order: what arrives until the consumers are cancelled goes back.
        await asyncio.gather(self.guarantees.drain(), *(_cancel_consumer(each) for each in self.subscribers))


async def _cancel_consumer(subscriber: object) -> None:
    assert isinstance(subscriber, RabbitSubscriber)  # noqa: S101 - a broker of RabbitMQ has no others
    queue, tag = subscriber._queue_obj, subscriber._consumer_tag
    if queue is None or tag is None:
        return
    subscriber._consumer_tag = None
    while True:
        try:
            await queue.cancel(tag)
        except CONNECTION_ERRORS:
            # The connection comes back with its consumers.
            await asyncio.sleep(_RECONNECT_SECONDS)
        else:
            return


def make_broker(
    url: str, publisher: Publisher, routers: Iterable[RabbitRouter], *, retry_delays_ms: Sequence[int]
) -> ServiceBroker:
    """A broker that feeds these routers' handlers once it is started.

    What handlers ask for with ``Context`` is set on its ``context`` before.

    Args:
        publisher: for retries, dead letters and replies; on another connection.
    """
    guarantees = Guarantees(publisher, retry_delays_ms=retry_delays_ms)
    broker = ServiceBroker(
        url,
        routers=tuple(routers),
        middlewares=(guarantees,),
        # Consumers come back within a second of the broker; the default waits five.
        reconnect_interval=_RECONNECT_SECONDS,
        # Stopping it does not wait: it is drained before.
        graceful_timeout=None,
        logger=None,
    )
    broker.guarantees = guarantees
    return broker


class Guarantees:
    """The broker middleware: gives each message a :class:`_Handling` of its own."""

    def __init__(self, publisher: Publisher, *, retry_delays_ms: Sequence[int]) -> None:
        self._publisher = publisher
        self._retry_delays_ms = retry_delays_ms
        self._under_way = UnderWay()

    async def drain(self) -> None:
        """Hand back what arrives from now on, and wait until all that was begun is settled."""
        await self._under_way.drain()

    def __call__(
        self, message: IncomingMessage | None, /, *, context: ContextRepo
    ) -> BaseMiddleware[Any, Any]:
        subscribed = getattr(context.get_local("handler_"), "queue", None)
        if message is None or not isinstance(subscribed, _SubscribedQueue):
            return BaseMiddleware(message, context=context)
        queue = subscribed.consumed
        settler = Settler(self._publisher, queue, retry_delays_ms=self._retry_delays_ms)
        return _Handling(
            message,
            context,
            queue=queue,
            settler=settler,
            publisher=self._publisher,
            begun=self._under_way.begun(),
        )


class _Handling(BaseMiddleware[Any, IncomingMessage]):
    """One message, from its arrival until it is settled."""

    def __init__(
        self,
        message: IncomingMessage,
        context: ContextRepo,
        *,
        queue: ConsumerQueue,
        settler: Settler,
        publisher: Publisher,
        begun: AbstractContextManager[None],
    ) -> None:
        super().__init__(message, context=context)
        self._begun = begun
        self._message = message
        self._queue = queue
        self._settler = settler
        self._publisher = publisher
        self._event: Event[Any] | None = None
        self._reply: BaseModel | None = None

    async def on_receive(self) -> None:
        """Begin, or hand the message back where the service drains.

        Raises:
            ShuttingDown: it was handed back.
        """
        try:
            self._begun.__enter__()
        except ShuttingDown as error:
            if self._deliveries:
                await self._pause()
            await self._hand_back(error)
            raise

    async def consume_scope(self, call_next: Callable[[Any], Any], msg: Any) -> None:
        """Handle it, with one immediate retry; what the handler raises is settled at the exit."""
        self._event = event = await msg.decode()
        with telemetry.correlated(event.correlation, str(event.id)), self._traced(event):
            began = time.perf_counter()
            try:
                self._reply = await self._attempt(call_next, msg)
            finally:
                _seconds.labels(self._queue.name, event.type).observe(
                    time.perf_counter() - began, tracing.exemplar()
                )

    def _traced(self, event: Event[Any]) -> tracing.Span:
        if tracing.active is None:
            return tracing.UNRECORDED
        headers = self._message.headers
        return tracing.active.processing(
            self._queue.name,
            event,
            attempt=1 + small_count(headers.get(ATTEMPTS)),
            is_replayed=topology.REPLAY_HEADER in headers,
        )

    async def _attempt(self, call_next: Callable[[Any], Any], msg: Any) -> BaseModel | None:
        for _ in range(IMMEDIATE_ATTEMPTS - 1):
            try:
                return cast("BaseModel | None", await call_next(msg))
            except Exception as error:
                if not is_retryable(error):
                    raise
        return cast("BaseModel | None", await call_next(msg))

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> bool:
        """Settle the message; True, since what was raised has been handled."""
        try:
            if exc_val is not None and not isinstance(exc_val, Exception):
                # The process stops: nothing is waited for.
                await self._hand_back(exc_val)
                return False
            await self._settle_surely(exc_val)
        finally:
            self._begun.__exit__(None, None, None)
        return True

    async def _settle_surely(self, error: Exception | None) -> None:
        event = self._event
        with telemetry.correlated(event.correlation if event else None):
            try:
                await self._settle(error)
            except Exception as failure:
                await self._pause()
                await self._hand_back(failure)

    async def _settle(self, error: Exception | None) -> None:
        message = self._message
        event_type = self._event.type if self._event else str(message.type or "")
        outcome: str | None = "processed"
        if isinstance(error, SubscriberNotFound):
            # FastStream's own sentence shows the message.
            error = UnknownEventType(f"{self._queue.name} has no handler of type {event_type[:100]!r}.")
        if error is None:
            await self._answer(self._reply)
        elif self._queue.exchange == topology.COMMANDS and message.reply_to:
            # The caller of a command waits for the answer: it gets the failure, and repeats if it wants.
            await self._answer(denied(error))
            outcome = "denied"
        else:
            await self._settler.settle(self._delivered(event_type), error)
            outcome = None
        await message.ack()
        if outcome is not None:
            count_messages(self._queue, event_type, outcome)

    async def _answer(self, reply: BaseModel | None) -> None:
        request = self._message
        if reply is None or not request.reply_to:
            return
        if not topology.may_receive_replies(request.reply_to):
            log.error("reply withheld: reply_to names no queue for replies", queue=self._queue.name)
            return
        await self._publisher.publish(
            reply.model_dump_json().encode(),
            exchange="",
            routing_key=request.reply_to,
            event_type=type(reply).__name__,
            message_id=str(request.message_id or ""),
            correlation_id=request.correlation_id or request.message_id,
            content_type="application/json",
            mandatory=False,
        )

    def _delivered(self, event_type: str) -> Delivered:
        message = self._message
        return Delivered(
            body=message.body,
            exchange=message.exchange or "",
            routing_key=message.routing_key or "",
            event_type=event_type,
            message_id=str(message.message_id or ""),
            headers=message.headers,
            reply_to=message.reply_to,
            correlation_id=message.correlation_id,
            content_type=message.content_type or "",
        )

    @property
    def _deliveries(self) -> int:
        return small_count(self._message.headers.get("x-delivery-count"))

    async def _pause(self) -> None:
        await asyncio.sleep(min(2.0**self._deliveries, _LONGEST_PAUSE_SECONDS))

    async def _hand_back(self, reason: BaseException) -> None:
        log.warning("message handed back", queue=self._queue.name, error_type=type(reason).__name__)
        # A channel that is closed has given the message back already.
        with contextlib.suppress(Exception):
            await self._message.nack(requeue=True)


def denied(error: Exception) -> Denied:
    """The error as an answer to a command; what is not in the error table says no more than that."""
    known = error if isinstance(error, JettyThunderError) else JettyThunderError()
    unexpected = error if known is not error and not isinstance(error, ValidationError) else None
    log.warning("command denied", code=known.code, error_type=type(error).__name__, exc_info=unexpected)
    return Denied(code=known.code, detail=known.detail, status=known.status, retryable=known.retryable)
