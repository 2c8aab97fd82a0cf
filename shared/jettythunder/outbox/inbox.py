"""Processing once in effect."""

from collections.abc import Sequence
from uuid import UUID

from prometheus_client import Counter

from jettythunder.database import Connection, Queries, Runner

_queries = Queries("jettythunder.outbox")
_insert_inbox = _queries.maybe("insert_inbox", bool)
_is_in_inbox = _queries.one("is_in_inbox", bool)
_forget_inbox = _queries.one("forget_inbox", int)
_duplicates = Counter("jettythunder_duplicates_total", "Events seen before and passed over", ["consumer"])


async def first_time(connection: Connection, *, consumer: str, event_id: UUID) -> bool:
    """Whether this consumer has not processed the event yet.

    Call it first in the transaction that processes the event: the two are committed together, so an event
    has its effect once however often it is delivered or replayed.
    """
    if await _insert_inbox(connection, consumer=consumer, event_id=event_id):
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


async def note(on: Runner, *, consumer: str, event_id: UUID) -> None:
    """Note an event as processed, after its effect."""
    await _insert_inbox(on, consumer=consumer, event_id=event_id)


async def forget(on: Runner, *, consumers: Sequence[str], keep_days: int, batch_size: int) -> int:
    """Remove a page of what consumers processed so many days ago; how many events it had.

    What the event log still holds must be kept, or a replay would have its effect again.
    """
    return await _forget_inbox(on, consumers=consumers, keep_days=keep_days, batch_size=batch_size)


def count_repeated(consumer: str) -> None:
    """Count an event that was passed over, for consumers that look into the inbox by a query of their own."""
    _duplicates.labels(consumer).inc()
