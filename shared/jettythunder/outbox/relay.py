"""The relay: moves committed events from the outbox to the broker.

Guarantees given here: an event's row is deleted only in a transaction that commits after the broker's
confirm, so it is published at least once; a lane is published by one relay at a time, in id order, so
events of one subject keep their order; an event no queue takes is set aside and delays no other.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prometheus_client import Counter, Gauge

from jettythunder import telemetry
from jettythunder.broker.confirms import Message
from jettythunder.broker.publisher import Publisher
from jettythunder.database import Connection, Database, Queries
from jettythunder.errors import JettyThunderError
from jettythunder.lifecycle import Periodic
from jettythunder.outbox.writing import LANES

log = telemetry.logger(__name__)

LOCK_SPACE = 7_305
_BATCH_SIZE = 500
_POLL_SECONDS = 2.0
# How soon to look again at lanes that another relay held: its batch takes milliseconds.
_HELD_SECONDS = 0.02
_MEASURE_SECONDS = 5.0
_LAST_BATCHES_SECONDS = 2.0

_published = Counter("jettythunder_outbox_published_total", "Events confirmed by the broker")
_quarantined = Counter("jettythunder_outbox_quarantined_total", "Events no queue takes")
_waiting = Gauge("jettythunder_outbox_backlog", "About how many events are committed and not yet published")
_lag = Gauge("jettythunder_outbox_lag_seconds", "Age of the oldest event not yet published")


@dataclass(frozen=True)
class OutboxRow:
    """An event of the outbox; all but the lane are None in the row that stands for lanes of other relays."""

    id: int | None
    lane: int
    exchange: str | None
    routing_key: str | None
    event_id: UUID | None
    body: str | None
    created_at: datetime | None


@dataclass(frozen=True)
class _Lag:
    lag_seconds: float
    waiting: int


@dataclass(frozen=True)
class Batch:
    """How many events left the outbox, and whether others are left in lanes that another relay held.

    Those may have been committed after that relay looked, and it is not woken for what others commit.
    """

    size: int
    others_left: bool


_queries = Queries("jettythunder.outbox")
_take_outbox = _queries.all("take_outbox", OutboxRow)
_quarantine = _queries.run("quarantine")
_measure_lag = _queries.one("lag", _Lag)


class Relay:
    """Publishes the outbox until it is closed; any number of relays may run at once.

    It runs at once after each commit of its own process, and finds what others left by polling.
    """

    def __init__(
        self,
        database: Database,
        publisher: Publisher,
        *,
        poll_seconds: float = _POLL_SECONDS,
        measure_seconds: float = _MEASURE_SECONDS,
    ) -> None:
        self._database = database
        self._publisher = publisher
        self._publishing = Periodic(
            "outbox-relay", self._publish_all, interval_seconds=poll_seconds, max_backoff_seconds=2
        )
        # Apart from publishing, since its figures matter most while nothing can be published.
        self._measuring = Periodic("outbox-lag", self._measure, interval_seconds=measure_seconds)

    def start(self) -> None:
        """Run in the background."""
        self._database.on_publish(self._publishing.run_soon)
        self._publishing.start()
        self._measuring.start()

    async def close(self) -> None:
        """Publish what is committed, as far as the broker takes it within two seconds, and stop."""
        await self._publishing.close()
        await self._measuring.close()
        with contextlib.suppress(JettyThunderError, TimeoutError):
            async with asyncio.timeout(_LAST_BATCHES_SECONDS):
                while (await self.publish_batch()).size:
                    pass

    async def publish_batch(self) -> Batch:
        """Publish up to one batch.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: nothing left the outbox.
        """
        await self._publisher.connect()
        async with self._database.transaction() as connection:
            rows = await _take_outbox(
                connection, all_lanes=LANES, lock_space=LOCK_SPACE, batch_size=_BATCH_SIZE
            )
            taken = [row for row in rows if row.id is not None]
            returned = await self._publisher.publish_all([_message(row) for row in taken])
            unroutable = [row for row in taken if str(row.event_id) in returned] if returned else []
            if unroutable:
                await _set_aside(connection, unroutable)
        _published.inc(len(taken) - len(unroutable))
        _quarantined.inc(len(unroutable))
        for row in unroutable:
            log.error("event quarantined", event_id=str(row.event_id), routing_key=row.routing_key)
        return Batch(size=len(taken), others_left=len(taken) < len(rows))

    async def _publish_all(self) -> float | None:
        # What is committed meanwhile makes it run again, so an unfilled batch was the last one.
        while (batch := await self.publish_batch()).size == _BATCH_SIZE:
            pass
        return _HELD_SECONDS if batch.others_left else None

    async def _measure(self) -> None:
        found = await _measure_lag(self._database)
        _waiting.set(found.waiting)
        _lag.set(found.lag_seconds)


def _message(row: OutboxRow) -> Message:
    return Message(
        (row.body or "").encode(),
        exchange=row.exchange or "",
        routing_key=row.routing_key or "",
        event_type=row.routing_key or "",
        message_id=str(row.event_id),
    )


async def _set_aside(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    await _quarantine(
        connection,
        ids=[row.id for row in rows],
        lanes=[row.lane for row in rows],
        exchanges=[row.exchange for row in rows],
        routing_keys=[row.routing_key for row in rows],
        event_ids=[row.event_id for row in rows],
        bodies=[row.body for row in rows],
        created_ats=[row.created_at for row in rows],
        reason="no queue is bound for this routing key",
    )
