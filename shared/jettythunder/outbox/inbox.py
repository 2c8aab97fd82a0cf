"""Processing once in effect."""

from datetime import datetime
from uuid import UUID

from prometheus_client import Counter

from jettythunder.database import Connection, Queries, Runner

_queries = Queries("jettythunder.outbox")
_insert_inbox = _queries.maybe("insert_inbox", bool)
_is_in_inbox = _queries.one("is_in_inbox", bool)
_keep_inbox = _queries.one("keep_inbox", int)
_duplicates = Counter("jettythunder_duplicates_total", "Events seen before and passed over", ["consumer"])


async def first_time(connection: Connection, *, consumer: str, event_id: UUID, event_time: datetime) -> bool:
    """Whether this consumer has not processed the event yet.

    Call it first in the transaction that processes the event: the two are committed together, so an event
    has its effect once however often it is delivered or replayed.

    Args:
        event_time: the event's own time, which says in which month's partition it is noted.

    Raises:
        EventTooOld: what was processed of the event's month has been forgotten.
    """
    if await _insert_inbox(connection, consumer=consumer, event_id=event_id, event_time=event_time):
        return True
    count_repeated(consumer)
    return False


async def seen(on: Runner, *, consumer: str, event_id: UUID) -> bool:
    """Whether this consumer has processed the event; asked first, it spares a repeated one its transaction.

    It is also for effects outside the database, which no transaction covers: ask, have the effect, then
    :func:`note` it. A crash in between repeats the effect, so whoever it reaches must be able to tell
    repetitions.
    """
    if not await _is_in_inbox(on, consumer=consumer, event_id=event_id):
        return False
    count_repeated(consumer)
    return True


async def note(on: Runner, *, consumer: str, event_id: UUID, event_time: datetime) -> None:
    """Note an event as processed, after its effect.

    Raises:
        EventTooOld: what was processed of the event's month has been forgotten.
    """
    await _insert_inbox(on, consumer=consumer, event_id=event_id, event_time=event_time)


async def keep(on: Runner, *, keep_days: int) -> int:
    """Make the partitions of months to come, and drop those whose events are all older than ``keep_days``.

    What the event log still holds must be kept, or a replay would have its effect again. Older events are
    refused from then on.

    Returns:
        How many partitions were dropped.
    """
    return await _keep_inbox(on, keep_days=keep_days)


def count_repeated(consumer: str) -> None:
    """Count an event that was passed over, for consumers that look into the inbox by a query of their own."""
    _duplicates.labels(consumer).inc()
