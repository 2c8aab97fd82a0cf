"""A consumer of one queue: typed handlers, retries that wait in the broker, dead letters with a reason.

Guarantees given here:

* A message leaves its queue only when its handler has returned, or when a copy of it is confirmed in a
  wait queue or in the dead letters. A crash in between repeats the message; the inbox makes that harmless.
* A message that can't be decoded, or fails in a way that repeating can't mend, goes to the dead letters at
  once; any other failure is tried again immediately, then after each of the retry delays.
* A reply goes to a private queue of the caller or nowhere: one that names a queue of ours is withheld, since
  replies may carry secrets and our queues are kept and read.
* Nothing sleeps in a handler.
"""

import hashlib
import random
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from faststream import AckPolicy
from faststream.rabbit import Channel, RabbitBroker, RabbitQueue
from faststream.rabbit.message import RabbitMessage
from prometheus_client import Counter, Histogram
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from jettythunder import telemetry, topology
from jettythunder.broker.publisher import Publisher, Unroutable
from jettythunder.contracts.envelope import Event, Payload
from jettythunder.contracts.replies import Denied
from jettythunder.database import CONNECTION_ERRORS
from jettythunder.errors import BrokerUnavailable, DatabaseUnavailable, JettyThunderError, MalformedEvent

log = telemetry.logger(__name__)

AnyPayload = TypeVar("AnyPayload", bound=Payload)

IMMEDIATE_ATTEMPTS = 2
JITTER = 0.2

ATTEMPTS = "x-jt-attempts"
FIRST_FAILED_AT = "x-jt-first-failed-at"
LAST_FAILED_AT = "x-jt-last-failed-at"
ERROR_TYPE = "x-jt-error-type"
ERROR_CODE = "x-jt-error-code"
ERROR_MESSAGE = "x-jt-error-message"
FINGERPRINT = "x-jt-fingerprint"

_messages = Counter(
    "jettythunder_messages_total", "Messages by what became of them", ["queue", "type", "outcome"]
)
_seconds = Histogram("jettythunder_message_seconds", "Time in the handler", ["queue", "type"])


Handled = TypeVar("Handled")


class Routes(Generic[Handled]):
    """What takes which type of message on one queue."""

    def __init__(self, queue: topology.ConsumerQueue) -> None:
        self._queue = queue
        self._routes: dict[str, tuple[type[Event[Any]], Callable[[Any], Handled]]] = {}

    def add(self, payload: type[AnyPayload], handler: Callable[[Event[AnyPayload]], Handled]) -> None:
        """Let ``handler`` take messages of this type."""
        self._routes[payload.TYPE] = Event[payload], handler  # type: ignore[valid-type]

    def decode(self, body: bytes) -> tuple[Event[Any], Callable[[Any], Handled]]:
        """The event in a message's body, and what takes it.

        Raises:
            MalformedEvent: it is no CloudEvent of a type and version that the queue takes.
        """
        try:
            raw = from_json(body)
        except ValueError:
            raise MalformedEvent("Not a CloudEvent: no JSON") from None
        event_type = raw.get("type") if isinstance(raw, dict) else None
        if not isinstance(event_type, str):
            raise MalformedEvent("Not a CloudEvent: it has no type")
        route = self._routes.get(event_type)
        if route is None:
            raise MalformedEvent(f"{self._queue.name} takes no messages of type {event_type[:100]!r}.")
        model, handler = route
        try:
            return model.model_validate(raw), handler
        except ValidationError as error:
            # The values are left out: a malformed message may hold anything.
            places = ", ".join(".".join(map(str, e["loc"])) + ": " + e["type"] for e in error.errors()[:5])
            raise MalformedEvent(f"Not a CloudEvent of a known type and version: {places}") from None


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A message whose handling failed, as it came."""

    body: bytes
    event_type: str
    message_id: str
    headers: Mapping[str, Any]
    reply_to: str | None
    correlation_id: str | None
    content_type: str


class Settler:
    """Decides what becomes of a message whose handling failed: a later attempt, or the dead letters.

    Args:
        retry_delays_ms: the waits before delayed attempts, which the topology was declared with.
    """

    def __init__(
        self, publisher: Publisher, queue: topology.ConsumerQueue, *, retry_delays_ms: Sequence[int]
    ) -> None:
        self._publisher = publisher
        self._queue = queue
        self._retry_delays_ms = retry_delays_ms

    async def settle(self, failed: Failed, error: Exception) -> None:
        """Have a copy confirmed in a wait queue or in the dead letters; the message itself may go then.

        Raises:
            BrokerUnavailable, Unroutable: it was not confirmed, so the message must stay.
        """
        headers = dict(failed.headers)
        attempts = int(str(headers.get(ATTEMPTS, 0))) + 1
        now = datetime.now(UTC).isoformat()
        headers.update({ATTEMPTS: attempts, LAST_FAILED_AT: now, **describe(error)})
        headers.setdefault(FIRST_FAILED_AT, now)
        again = is_retryable(error) and attempts <= len(self._retry_delays_ms)
        exchange, wait_seconds = topology.DEAD_LETTERS, None
        if again:
            delay_ms = self._retry_delays_ms[attempts - 1]
            exchange = topology.retry_queue(delay_ms)
            wait_seconds = delay_ms / 1000 * (1 - random.random() * JITTER)  # noqa: S311 - jitter, not a secret
        await self._publisher.publish(
            failed.body,
            exchange=exchange,
            routing_key=self._queue.name,
            event_type=failed.event_type,
            message_id=failed.message_id,
            headers=headers,
            reply_to=failed.reply_to,
            correlation_id=failed.correlation_id,
            expiration_seconds=wait_seconds,
            content_type=failed.content_type,
        )
        outcome = "retried" if again else "dead_lettered"
        count_messages(self._queue, failed.event_type, outcome)
        log.warning(
            f"message {outcome}",
            queue=self._queue.name,
            type=failed.event_type,
            attempts=attempts,
            message_id=failed.message_id,
            exc_info=error,
        )


class Consumer:
    """Subscribes to one queue and hands each message to the handler of its type.

    Args:
        broker: the FastStream broker whose connection consumes.
        publisher: for retries, dead letters and replies; on another connection.
        queue: which queue.
        prefetch: how many messages are in flight at once; each runs in its own task.
    """

    def __init__(
        self,
        broker: RabbitBroker,
        publisher: Publisher,
        *,
        queue: topology.ConsumerQueue,
        prefetch: int,
        retry_delays_ms: Sequence[int],
    ) -> None:
        self._publisher = publisher
        self._queue = queue
        self._settler = Settler(publisher, queue, retry_delays_ms=retry_delays_ms)
        self._routes = Routes[Awaitable[BaseModel | None]](queue)
        broker.subscriber(
            RabbitQueue(queue.name, declare=False),
            channel=Channel(prefetch_count=prefetch),
            ack_policy=AckPolicy.MANUAL,
            no_reply=True,
            decoder=_undecoded,
        )(self._on_message)

    def on(
        self, payload: type[AnyPayload], handler: Callable[[Event[AnyPayload]], Awaitable[BaseModel | None]]
    ) -> None:
        """Let ``handler`` take messages of this type. What it returns answers ``reply_to``."""
        self._routes.add(payload, handler)

    async def _on_message(self, message: RabbitMessage) -> None:
        event_type = str(message.raw_message.type or "")
        try:
            event, handler = self._routes.decode(message.body)
            event_type = event.type
        except MalformedEvent as error:
            await self._fail(message, event_type, error)
            return
        with (
            telemetry.correlated(event.correlationid or str(event.id), str(event.id)),
            _seconds.labels(self._queue.name, event_type).time(),
        ):
            reply: BaseModel | None = None
            failure: Exception | None = None
            for _ in range(IMMEDIATE_ATTEMPTS):
                try:
                    reply, failure = await handler(event), None
                    break
                except Exception as error:
                    failure = error
                    if not is_retryable(error):
                        break
            if failure is not None:
                await self._fail(message, event_type, failure)
                return
            if reply is not None and message.raw_message.reply_to:
                await self._reply(message, reply)
            await message.ack()
            count_messages(self._queue, event_type, "processed")

    async def _fail(self, message: RabbitMessage, event_type: str, error: Exception) -> None:
        # The caller of a command waits for the answer: it gets the failure, and repeats if it wants.
        if self._queue.exchange == topology.COMMANDS and message.raw_message.reply_to:
            await self._reply(message, denied(error))
            await message.ack()
            count_messages(self._queue, event_type, "denied")
            return
        raw = message.raw_message
        failed = Failed(
            body=message.body,
            event_type=event_type,
            message_id=str(raw.message_id or ""),
            headers=raw.headers,
            reply_to=raw.reply_to,
            correlation_id=raw.correlation_id,
            content_type=raw.content_type or "",
        )
        try:
            await self._settler.settle(failed, error)
        except (BrokerUnavailable, Unroutable):
            await message.nack(requeue=True)
            return
        await message.ack()

    async def _reply(self, message: RabbitMessage, reply: BaseModel) -> None:
        request = message.raw_message
        if topology.is_own_queue(request.reply_to or ""):
            log.error("reply withheld: reply_to names a queue of ours", queue=self._queue.name)
            return
        await self._publisher.publish(
            reply.model_dump_json().encode(),
            exchange="",
            routing_key=request.reply_to or "",
            event_type=type(reply).__name__,
            message_id=str(request.message_id or ""),
            correlation_id=request.correlation_id or request.message_id,
            content_type="application/json",
            mandatory=False,
        )


def count_messages(queue: topology.ConsumerQueue, event_type: str, outcome: str, count: int = 1) -> None:
    """Count messages by what became of them."""
    _messages.labels(queue.name, event_type, outcome).inc(count)


async def _undecoded(message: RabbitMessage) -> RabbitMessage:
    return message


def is_retryable(error: Exception) -> bool:
    """Whether the same message may succeed later; the error table says, and the unknown may."""
    if isinstance(error, JettyThunderError):
        return error.retryable
    return not isinstance(error, ValidationError)


def denied(error: Exception) -> Denied:
    """The error as an answer to a command; what is not in the error table says no more than that."""
    known = error if isinstance(error, JettyThunderError) else JettyThunderError()
    if isinstance(error, CONNECTION_ERRORS):
        known = DatabaseUnavailable()
    unexpected = error if known is not error else None
    log.warning("command denied", code=known.code, error_type=type(error).__name__, exc_info=unexpected)
    return Denied(code=known.code, detail=known.detail, status=known.status, retryable=known.retryable)


def describe(error: Exception) -> dict[str, str]:
    """The headers that tell ops why: type, code, sentence, and a fingerprint of where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    places = "|".join(f"{frame.filename.rsplit('/', 2)[-1]}:{frame.name}" for frame in frames)
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return {
        ERROR_TYPE: kind,
        ERROR_CODE: error.code if isinstance(error, JettyThunderError) else "internal_error",
        ERROR_MESSAGE: str(error)[:500],
        FINGERPRINT: hashlib.sha256(f"{kind}|{places}".encode()).hexdigest()[:12],
    }
