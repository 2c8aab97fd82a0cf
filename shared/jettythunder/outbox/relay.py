"""The relay: moves committed events from the outbox to the broker.

Guarantees given here: an event's row is deleted only in a transaction that commits after the broker's
confirm, so it is published at least once; a lane is published by one relay at a time, in id order, so
events of one subject keep their order; an event no queue takes is set aside and holds up nothing.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Any

import asyncpg
from prometheus_client import Counter, Gauge

from jettythunder import telemetry
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher, Unroutable
from jettythunder.database import CONNECTION_ERRORS, Pool, queries
from jettythunder.errors import BrokerUnavailable
from jettythunder.outbox.writing import LANE_COUNT

log = telemetry.logger(__name__)

_CHANNEL = "jettythunder_outbox"
LOCK_SPACE = 7_305
_BATCH_SIZE = 500
_POLL_SECONDS = 2.0
# How soon to look again at lanes that another relay held: its batch takes milliseconds.
_HELD_SECONDS = 0.02
_MEASURE_SECONDS = 5.0

_queries = queries("jettythunder.outbox")
_published = Counter("jettythunder_outbox_published_total", "Events confirmed by the broker")
_quarantined = Counter("jettythunder_outbox_quarantined_total", "Events no queue takes")
_waiting = Gauge("jettythunder_outbox_backlog", "Events committed and not yet published")
_lag = Gauge("jettythunder_outbox_lag_seconds", "Age of the oldest event not yet published")


@dataclass(frozen=True)
class Batch:
    """How many events left the outbox, and whether others are left in lanes that another relay held.

    Those may have been committed after that relay looked, and it is not woken for what others commit.
    """

    size: int
    others_left: bool


class Relay:
    """Publishes the outbox until it is closed; any number of relays may run at once.

    It wakes at once for what connections named ``name`` commit, and finds what others left by polling.
    """

    def __init__(
        self, pool: Pool, broker_url: str, *, name: str, poll_seconds: float = _POLL_SECONDS
    ) -> None:
        self._pool = pool
        self._poll_seconds = poll_seconds
        self._name = name
        self._link = BrokerLink(broker_url, name=f"{name} relay")
        self._publisher = Publisher(self._link)
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._measured_at = 0.0

    def start(self) -> None:
        """Run in the background."""
        self._tasks = [
            asyncio.create_task(self._publish_forever()),
            asyncio.create_task(self._listen_forever()),
        ]

    async def close(self) -> None:
        """Publish what is committed, as far as the broker takes it within two seconds, and stop."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(BrokerUnavailable, *CONNECTION_ERRORS):
            async with asyncio.timeout(2):
                while (await self.publish_batch()).size:
                    pass
        await self._link.close()

    async def ping(self) -> None:
        """Raises BrokerUnavailable unless the broker answers now."""
        await self._link.ping()

    async def publish_batch(self) -> Batch:
        """Publish up to one batch.

        Raises:
            BrokerUnavailable: nothing left the outbox.
        """
        await self._link.channel()
        async with self._pool.acquire() as connection, connection.transaction():
            rows = [
                row
                async for row in _queries.take_outbox(
                    connection, lane_count=LANE_COUNT, lock_space=LOCK_SPACE, batch_size=_BATCH_SIZE
                )
            ]
            taken = [row for row in rows if row["id"] is not None]
            outcomes = await asyncio.gather(*map(self._publish, taken), return_exceptions=True)
            lost = next(
                (o for o in outcomes if isinstance(o, BaseException) and not isinstance(o, Unroutable)), None
            )
            if lost is not None:
                raise lost
            unroutable = [
                {**dict(row), "reason": "no queue is bound for this routing key"}
                for row, outcome in zip(taken, outcomes, strict=True)
                if isinstance(outcome, Unroutable)
            ]
            if unroutable:
                await _queries.quarantine(connection, unroutable)
        _published.inc(len(taken) - len(unroutable))
        _quarantined.inc(len(unroutable))
        for row in unroutable:
            log.error("event quarantined", event_id=str(row["event_id"]), routing_key=row["routing_key"])
        return Batch(size=len(taken), others_left=len(taken) < len(rows))

    async def _publish(self, row: asyncpg.Record) -> None:
        await self._publisher.publish(
            row["body"].encode(),
            exchange=row["exchange"],
            routing_key=row["routing_key"],
            event_type=row["routing_key"],
            message_id=str(row["event_id"]),
        )

    async def _publish_forever(self) -> None:
        while True:
            self._wake.clear()
            pause_seconds = self._poll_seconds
            try:
                # What is committed meanwhile wakes it again, so an unfilled batch was the last one.
                while (batch := await self.publish_batch()).size == _BATCH_SIZE:
                    pass
                if batch.others_left:
                    pause_seconds = _HELD_SECONDS
                await self._measure()
            except BrokerUnavailable as error:
                log.warning("outbox waits: the broker can't be reached", error_type=type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            except CONNECTION_ERRORS as error:
                log.warning("outbox waits: the database can't be reached", error_type=type(error).__name__)
                await asyncio.sleep(0.5)
                continue
            except Exception as error:
                log.error("outbox batch failed", exc_info=error)
                await asyncio.sleep(_POLL_SECONDS)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self._wake.wait()

    async def _measure(self) -> None:
        if time.monotonic() - self._measured_at < _MEASURE_SECONDS:
            return
        self._measured_at = time.monotonic()
        backlog = await _queries.backlog(self._pool)
        _waiting.set(backlog["waiting"])
        _lag.set(backlog["lag_seconds"])

    async def _listen_forever(self) -> None:
        def wake(_connection: Any, _pid: int, _channel: str, writer: object) -> None:
            if writer == self._name:
                self._wake.set()

        while True:
            lost = asyncio.Event()

            def on_lost(*_: Any, lost: asyncio.Event = lost) -> None:
                lost.set()

            try:
                async with self._pool.acquire() as connection:
                    connection.add_termination_listener(on_lost)
                    await connection.add_listener(_CHANNEL, wake)
                    try:
                        await lost.wait()
                    finally:
                        if not connection.is_closed():
                            await connection.remove_listener(_CHANNEL, wake)
                            connection.remove_termination_listener(on_lost)
            except CONNECTION_ERRORS:
                pass
            # Until the listener is back, the relay's own polling finds what was committed.
            await asyncio.sleep(_POLL_SECONDS)
