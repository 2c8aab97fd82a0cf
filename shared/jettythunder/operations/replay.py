"""Replay: events of the log, delivered again to one consumer alone.

Guarantees given here: nobody but the named consumer gets anything; every event keeps its id, so what the
consumer has processed it passes over; progress is noted after the broker has confirmed, so a replay that was
cut off goes on without a gap, and repeats one batch at most.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict

from jettythunder.broker import topology
from jettythunder.broker.event_log import EventFilter, EventLog, LoggedEvent, Offset
from jettythunder.broker.publisher import Publisher
from jettythunder.database import Pool, queries
from jettythunder.errors import ConsumerHasNoLog, ConsumerNotFound, ReplayNotFound, ReplayNotResumable
from jettythunder.operations.audit import Audit
from jettythunder.operations.pacing import Pace

_queries = queries("jettythunder.operations")

_COUNT_BATCH_SIZE = 1000
# A running replay notes its progress far more often; one that has been silent for so long is dead.
_SILENT_SECONDS = 60.0


class ReplayCount(BaseModel):
    """What a replay would do. ``new`` are those that the consumer has not processed yet."""

    events: int = 0
    new: int = 0
    processed_before: int = 0
    undecodable: int = 0


class Replay(BaseModel):
    """A replay and how far it has come. Offsets are places in the log."""

    model_config = ConfigDict(frozen=True)

    id: UUID
    who: str
    consumer: str
    filter: EventFilter
    rate: float | None
    next_offset: int | None
    end_offset: int
    read_count: int
    replayed_count: int
    status: Literal["running", "interrupted", "completed"]
    started_at: datetime
    updated_at: datetime


Progress = Callable[[Replay], None]


class Replays:
    """Counts, begins, resumes and runs replays."""

    def __init__(self, pool: Pool, log: EventLog, publisher: Publisher, audit: Audit) -> None:
        self._pool = pool
        self._log = log
        self._publisher = publisher
        self._audit = audit

    async def count(self, consumer: str, wanted: EventFilter) -> ReplayCount:
        """What a replay would do: a dry run.

        Raises:
            ConsumerNotFound, ConsumerHasNoLog: nothing can be replayed to it.
        """
        queue = find_consumer(consumer)
        counted = ReplayCount()
        new: set[UUID] = set()
        batch: list[UUID] = []

        async def ask() -> None:
            known = {
                row["event_id"]
                async for row in _queries.known_events(self._pool, consumer=queue.name, event_ids=batch)
            }
            # The log may hold an event twice, after a crash between its confirm and its commit.
            unknown = [event_id for event_id in batch if event_id not in known and event_id not in new]
            new.update(unknown)
            counted.processed_before += len(batch) - len(unknown)
            batch.clear()

        async for logged in self._log.read(start=wanted.begin):
            if not is_bound(queue, logged):
                continue
            if logged.event is None:
                counted.undecodable += 1
            elif wanted.takes(logged.event):
                counted.events += 1
                batch.append(logged.event.id)
                if len(batch) >= _COUNT_BATCH_SIZE:
                    await ask()
        await ask()
        counted.new = len(new)
        return counted

    async def begin(self, consumer: str, wanted: EventFilter, *, who: str, rate: float | None) -> Replay:
        """Note a replay of what the log holds now; :meth:`run` carries it out.

        Raises:
            ConsumerNotFound, ConsumerHasNoLog: nothing can be replayed to it.
        """
        queue = find_consumer(consumer)
        asked = wanted.model_dump(mode="json", exclude_defaults=True)
        end_offset = await self._log.end()
        audit_id = await self._audit.begin(
            who=who, action="events replay", wanted={"to": queue.name, "rate": rate, **asked}
        )
        row = await _queries.insert_replay(
            self._pool,
            replay_id=uuid4(),
            audit_id=audit_id,
            consumer=queue.name,
            filter=json.dumps(asked),
            rate=rate,
            end_offset=end_offset,
        )
        return _replay(row)

    async def fetch(self, replay_id: UUID) -> Replay:
        """One replay.

        Raises:
            ReplayNotFound: there is none.
        """
        row = await _queries.fetch_replay(self._pool, replay_id=replay_id)
        if row is None:
            raise ReplayNotFound
        return _replay(row)

    async def newest(self, *, limit: int) -> list[Replay]:
        """The last replays, newest first."""
        return [_replay(row) async for row in _queries.newest_replays(self._pool, limit=limit)]

    async def resume(self, replay_id: UUID, *, who: str) -> Replay:
        """Take over a replay that was cut off; :meth:`run` carries it out from where it was.

        Raises:
            ReplayNotFound: there is none.
            ReplayNotResumable: it runs or is completed.
        """
        found = await self.fetch(replay_id)
        audit_id = await self._audit.begin(
            who=who, action="events replay resume", wanted={"replay": str(replay_id), "to": found.consumer}
        )
        row = await _queries.claim_replay(
            self._pool, replay_id=replay_id, audit_id=audit_id, silent_seconds=_SILENT_SECONDS
        )
        if row is None:
            await self._audit.finish(audit_id, {"failed": ReplayNotResumable.__name__})
            raise ReplayNotResumable
        return _replay(row)

    async def run(self, replay: Replay, on_progress: Progress = lambda _: None) -> Replay:
        """Deliver the events; returns when the consumer's queue has confirmed the last.

        Raises:
            BrokerUnavailable: the broker was lost; the replay can be resumed.
        """
        queue = find_consumer(replay.consumer)
        pace = Pace(replay.rate)
        start: Offset = replay.filter.begin if replay.next_offset is None else replay.next_offset
        batch: list[LoggedEvent] = []
        current, read_count = replay, replay.read_count

        async def deliver(next_offset: int) -> None:
            nonlocal current
            await asyncio.gather(*(self._publish(queue, replay.id, logged) for logged in batch))
            current = current.model_copy(
                update={
                    "next_offset": next_offset,
                    "read_count": read_count,
                    "replayed_count": current.replayed_count + len(batch),
                }
            )
            await self._note(current, "running")
            on_progress(current)
            delivered = len(batch)
            batch.clear()
            await pace.did(delivered)

        try:
            async with contextlib.aclosing(
                self._log.read(start=start, end_offset=replay.end_offset)
            ) as events:
                async for logged in events:
                    read_count += 1
                    if is_bound(queue, logged) and logged.event and replay.filter.takes(logged.event):
                        batch.append(logged)
                    if len(batch) >= pace.batch_size or read_count % _COUNT_BATCH_SIZE == 0:
                        await deliver(logged.offset + 1)
            await deliver(replay.end_offset)
        except BaseException:
            await self._end(current, "interrupted")
            raise
        return await self._end(current, "completed")

    async def _publish(self, queue: topology.ConsumerQueue, replay_id: UUID, logged: LoggedEvent) -> None:
        # Without reply_to: whoever waited for an answer then does not wait now.
        await self._publisher.publish(
            logged.body,
            exchange=queue.replay_exchange,
            routing_key=logged.routing_key,
            event_type=logged.routing_key,
            message_id=logged.message_id,
            headers={topology.REPLAY_HEADER: str(replay_id)},
            content_type=logged.content_type,
        )

    async def _note(self, replay: Replay, status: str) -> None:
        await _queries.note_progress(
            self._pool,
            replay_id=replay.id,
            next_offset=replay.next_offset,
            read_count=replay.read_count,
            replayed_count=replay.replayed_count,
            status=status,
        )

    async def _end(self, replay: Replay, status: Literal["interrupted", "completed"]) -> Replay:
        await self._note(replay, status)
        row = await _queries.fetch_replay(self._pool, replay_id=replay.id)
        result = {"replay": str(replay.id), "status": status, "replayed": replay.replayed_count}
        await self._audit.finish(row["audit_id"], {**result, "read": replay.read_count})
        return _replay(row)


def find_consumer(name: str) -> topology.ConsumerQueue:
    """The consumer that events can be replayed to.

    Raises:
        ConsumerNotFound: there is none of that name.
        ConsumerHasNoLog: it takes commands, which are not in the log.
    """
    queue = topology.consumer_queue(name)
    if queue is None:
        known = ", ".join(known.name for known in topology.event_queues())
        raise ConsumerNotFound(f"There is no consumer {name[:100]!r}. Events can be replayed to: {known}.")
    if queue not in topology.event_queues():
        raise ConsumerHasNoLog
    return queue


def is_bound(queue: topology.ConsumerQueue, logged: LoggedEvent) -> bool:
    """Whether the consumer's queue took this message when it was published."""
    return logged.exchange == queue.exchange and logged.routing_key in {p.TYPE for p in queue.payloads}


def _replay(row: Any) -> Replay:
    return Replay.model_validate({**dict(row), "filter": json.loads(row["filter"])})


async def find_events(log: EventLog, wanted: EventFilter) -> AsyncGenerator[LoggedEvent, None]:
    """The wanted events of the log, up to its end as of now."""
    async with contextlib.aclosing(log.read(start=wanted.begin)) as events:
        async for logged in events:
            if logged.event is not None and wanted.takes(logged.event):
                yield logged
