"""Processing once in effect."""

from uuid import UUID

from prometheus_client import Counter

from jettythunder.database import Connection, queries

_queries = queries("jettythunder.outbox")
_duplicates = Counter("jettythunder_duplicates_total", "Events seen before and passed over", ["consumer"])


async def first_time(connection: Connection, *, consumer: str, event_id: UUID) -> bool:
    """Whether this consumer has not processed the event yet.

    Call it first in the transaction that processes the event: the two are committed together, so an event
    has its effect once however often it is delivered or replayed.
    """
    if await _queries.insert_inbox(connection, consumer=consumer, event_id=event_id):
        return True
    _duplicates.labels(consumer).inc()
    return False
