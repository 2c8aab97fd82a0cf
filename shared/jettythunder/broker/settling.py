"""What becomes of a message whose handling failed: a later attempt, or the dead letters with a reason.

Guarantees given here:

* A message that can't be decoded, or fails in a way that repeating can't mend, goes to the dead letters at
  once; any other failure is tried again after each of the retry delays.
* Waiting for something that is not the message's fault is no attempt: while the database can't be reached,
  and while this version of a service does not know a type that its queue is bound to (for a day at most).
* Attempts are counted in headers, which are believed on messages from our own exchanges only.
"""

import hashlib
import random
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pamqp import encode
from prometheus_client import Counter
from pydantic import ValidationError

from jettythunder import telemetry
from jettythunder.broker import topology
from jettythunder.broker.decoding import places
from jettythunder.broker.properties import UNDECODABLE
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.errors import (
    DatabaseUnavailable,
    JettyThunderError,
    MalformedEvent,
    UnknownEventType,
)

log = telemetry.logger(__name__)

JITTER = 0.2

ATTEMPTS = "x-jt-attempts"
FIRST_FAILED_AT = "x-jt-first-failed-at"
LAST_FAILED_AT = "x-jt-last-failed-at"
ERROR_TYPE = "x-jt-error-type"
ERROR_CODE = "x-jt-error-code"
ERROR_MESSAGE = "x-jt-error-message"
FINGERPRINT = "x-jt-fingerprint"

_UNKNOWN_TYPE_WAITS = timedelta(days=1)
_MOST_ATTEMPTS = 1000

# Headers that we or the broker add to a failed message. What others put under these names is not believed.
_ADDED = ("x-jt-attempts", "x-jt-first-failed-at", "x-jt-last-failed-at", "x-jt-error-", "x-jt-fingerprint",
          UNDECODABLE, "x-death", "x-first-death-", "x-last-death-", "x-delivery-count",
          "x-acquired-count")  # fmt: skip
# A frame holds all headers of a message, and ours come on top of the publisher's.
_COPIED_HEADERS_BYTES = 16_000

_messages = Counter(
    "jettythunder_messages_total", "Messages by what became of them", ["queue", "type", "outcome"]
)
_OUTCOMES = ("processed", "denied", "retried", "waiting", "dead_lettered")


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """A message as it came, in no client library's terms."""

    body: bytes
    exchange: str
    routing_key: str
    event_type: str
    message_id: str
    headers: Mapping[str, Any]
    reply_to: str | None
    correlation_id: str | None
    content_type: str


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why, when and how often a message failed, as its headers say."""

    error_type: str
    error_code: str
    error_message: str
    fingerprint: str
    attempts: int
    first_failed_at: datetime | None
    last_failed_at: datetime | None


class Settler:
    """Gives a failed message's copy to a wait queue or to the dead letters.

    Args:
        retry_delays_ms: the waits before delayed attempts, which the topology was declared with.
    """

    def __init__(self, publisher: Publisher, queue: ConsumerQueue, *, retry_delays_ms: Sequence[int]) -> None:
        self._publisher = publisher
        self._queue = queue
        self._retry_delays_ms = retry_delays_ms

    async def settle(self, failed: Delivered, error: Exception) -> None:
        """Have a copy confirmed in a wait queue or in the dead letters; the message itself may go then.

        Raises:
            BrokerUnavailable, Unroutable: it was not confirmed, so the message must stay.
        """
        before = failure_of(failed.headers) if is_from_us(failed, self._queue) else _NO_FAILURE
        now = datetime.now(UTC)
        began_at = min(before.first_failed_at or now, now)
        waits = _waits_for_others(error, now - began_at)
        attempts = before.attempts + (not waits)
        delay_ms = self._delay_ms(error, attempts, now - began_at, waits=waits)
        outcome = "dead_lettered" if delay_ms is None else "waiting" if waits else "retried"
        await self._publisher.publish(
            failed.body,
            exchange=topology.DEAD_LETTERS if delay_ms is None else topology.retry_queue(delay_ms),
            routing_key=self._queue.name,
            event_type=failed.event_type,
            message_id=failed.message_id,
            headers={
                **sendable(without_failure(failed.headers), most_bytes=_COPIED_HEADERS_BYTES),
                ATTEMPTS: attempts,
                FIRST_FAILED_AT: began_at.isoformat(),
                LAST_FAILED_AT: now.isoformat(),
                **describe(error),
            },
            reply_to=failed.reply_to,
            correlation_id=failed.correlation_id,
            expiration_seconds=None if delay_ms is None else _jittered(delay_ms),
            content_type=failed.content_type,
        )
        count_messages(self._queue, failed.event_type, outcome)
        log.warning(
            f"message {outcome}",
            queue=self._queue.name,
            type=failed.event_type,
            attempts=attempts,
            message_id=failed.message_id,
            reason=reason_of(error),
            # A validation error shows the values that it refused.
            exc_info=None if isinstance(error, MalformedEvent | ValidationError) else error,
        )

    def _delay_ms(
        self, error: Exception, attempts: int, failing_for: timedelta, *, waits: bool
    ) -> int | None:
        """How long it waits for the next attempt; None where there is none."""
        delays = self._retry_delays_ms
        if not delays:
            return None
        if isinstance(error, UnknownEventType):
            return delays[-1] if waits else None
        if waits:
            # About as long again as it has waited already, so that a long outage costs few attempts.
            elapsed_ms = failing_for / timedelta(milliseconds=1)
            return max((delay for delay in delays if delay <= elapsed_ms), default=delays[0])
        return delays[attempts - 1] if is_retryable(error) and attempts <= len(delays) else None


def _waits_for_others(error: Exception, failing_for: timedelta) -> bool:
    if isinstance(error, UnknownEventType):
        return failing_for < _UNKNOWN_TYPE_WAITS
    return isinstance(error, DatabaseUnavailable)


def _jittered(delay_ms: int) -> float:
    return delay_ms / 1000 * (1 - random.random() * JITTER)  # noqa: S311 - jitter, not a secret


def is_from_us(delivered: Delivered, queue: ConsumerQueue) -> bool:
    """Whether the message comes from one of our wait queues, which deliver through the default exchange."""
    return delivered.exchange == "" and delivered.routing_key == queue.name


def is_retryable(error: Exception) -> bool:
    """Whether the same message may succeed later; the error table says, and the unknown may."""
    if isinstance(error, JettyThunderError):
        return error.retryable
    return not isinstance(error, ValidationError)


def count_messages(queue: ConsumerQueue, event_type: str, outcome: str, count: int = 1) -> None:
    """Count messages by what became of them."""
    _messages.labels(queue.name, known_type(queue, event_type), outcome).inc(count)


def count_from_zero(queue: ConsumerQueue) -> None:
    """Have the metrics of a queue begin at 0, so that the first failure counts as a rise."""
    for payload in queue.payloads:
        for outcome in _OUTCOMES:
            _messages.labels(queue.name, payload.TYPE, outcome)


def known_type(queue: ConsumerQueue, event_type: str) -> str:
    """The type as a label of metrics: a publisher may write anything, and each label is kept for ever."""
    return event_type if event_type in queue.payload_of else "unknown"


def reason_of(error: Exception) -> str:
    """The error in a sentence without the values of the message."""
    return (places(error) if isinstance(error, ValidationError) else str(error))[:500]


def describe(error: Exception) -> dict[str, str]:
    """The headers that tell ops why: type, code, sentence, and a fingerprint of where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = "|".join(f"{frame.filename.rsplit('/', 2)[-1]}:{frame.name}" for frame in frames)
    kind = f"{type(error).__module__}.{type(error).__qualname__}"
    return {
        ERROR_TYPE: kind,
        ERROR_CODE: error.code if isinstance(error, JettyThunderError) else "internal_error",
        ERROR_MESSAGE: reason_of(error),
        FINGERPRINT: hashlib.sha256(f"{kind}|{where}".encode()).hexdigest()[:12],
    }


def failure_of(headers: Mapping[str, Any]) -> Failure:
    """What the headers of a failed message say, ours or the broker's; nonsense counts as nothing."""
    by_broker = _dropped_by_broker(headers)
    kind = str(headers.get(ERROR_TYPE) or f"broker.{by_broker.get('reason', 'unknown')}")
    return Failure(
        error_type=kind,
        error_code=str(headers.get(ERROR_CODE) or by_broker.get("reason", "unknown")),
        error_message=str(headers.get(ERROR_MESSAGE) or "The broker gave the message up."),
        fingerprint=str(headers.get(FINGERPRINT) or kind),
        attempts=small_count(headers.get(ATTEMPTS)),
        first_failed_at=_moment(headers.get(FIRST_FAILED_AT) or by_broker.get("time")),
        last_failed_at=_moment(headers.get(LAST_FAILED_AT) or by_broker.get("time")),
    )


def without_failure(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers as the publisher gave them, so that attempts are counted from the beginning."""
    return {name: value for name, value in headers.items() if not name.startswith(_ADDED)}


def _dropped_by_broker(headers: Mapping[str, Any]) -> dict[str, Any]:
    """What the broker noted where it gave the message up itself, after too many deliveries for instance."""
    deaths = headers.get("x-death")
    return deaths[0] if isinstance(deaths, list) and deaths and isinstance(deaths[0], dict) else {}


def small_count(given: object) -> int:
    """A count that a header holds; 0 where it holds none, or none that we would have written."""
    try:
        count = int(str(given))
    except ValueError:
        return 0
    return count if 0 <= count <= _MOST_ATTEMPTS else 0


def _moment(given: object) -> datetime | None:
    try:
        at = given if isinstance(given, datetime) else datetime.fromisoformat(str(given))
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def sendable(headers: Mapping[str, Any], *, most_bytes: int) -> dict[str, Any]:
    """As many of a message's headers as its copy can carry."""
    copied, size = {}, 0
    for name, value in headers.items():
        try:
            size += len(encode.field_table({name: value}))
        except Exception:  # a kind of value that can be received and not sent  # noqa: S112
            continue
        if size <= most_bytes:
            copied[name] = value
    return copied


_NO_FAILURE = failure_of({})
