"""Replay: events of the log, delivered again to one consumer alone.

Guarantees given here: only the named consumer gets anything, and what it has processed is not delivered to
it again; every event keeps its id, so one that it was processing meanwhile it passes over; progress is noted
after the broker has confirmed, so a replay that was cut off goes on without a gap, and repeats one batch at
most. One process at a time carries out a replay.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from jettythunder import telemetry
from jettythunder.broker import topology
from jettythunder.broker.confirms import Message
from jettythunder.broker.event_log import EventFilter, LoggedEvent, Offset, place_before
from jettythunder.broker.publisher import Unroutable
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.errors import JettyThunderError
from jettythunder.ids import new_id, time_of
from operations.audit import Audit
from operations.consumers import Consumers
from operations.errors import ReplayNotFound, ReplayNotResumable, ReplayTakenOver
from operations.pacing import Clock, Pace, SystemClock
from operations.replays.model import (
    HEARTBEAT_SECONDS,
    HeldReplay,
    Replay,
    ReplayCount,
    ReplayStatus,
)

log = telemetry.logger(__name__)

_BATCH_SIZE = 1000
_REMEMBERED_IDS = 100_000

Progress = Callable[[Replay], None]


class Log(Protocol):
    """The event log."""

    async def end(self) -> int: ...

    def read(
        self, *, start: Offset = "first", end_offset: int | None = None
    ) -> AsyncGenerator[LoggedEvent, None]: ...


class Inboxes(Protocol):
    """What the consumers have processed."""

    async def known_events(self, consumer: str, event_ids: list[UUID]) -> set[UUID]: ...


class KeptReplays(Protocol):
    """Where replays are kept."""

    async def insert(
        self,
        *,
        replay_id: UUID,
        audit_id: int,
        consumer: str,
        wanted: EventFilter,
        rate: float | None,
        end_offset: int,
    ) -> HeldReplay: ...

    async def fetch(self, replay_id: UUID) -> Replay | None: ...

    async def newest(self, *, limit: int) -> list[Replay]: ...

    async def claim(self, replay_id: UUID, *, audit_id: int) -> HeldReplay | None: ...

    async def note(self, held: HeldReplay, status: ReplayStatus) -> datetime | None: ...


class EventPublisher(Protocol):
    """Publishes with confirms."""

    async def publish_all(self, messages: Sequence[Message]) -> set[str]: ...


class _Repeated:
    """Finds events that the log has twice, after a crash between their confirm and their commit.

    Those are near each other, so only the last ids are kept.
    """

    def __init__(self) -> None:
        self._seen: dict[UUID, None] = {}

    def is_new(self, event_id: UUID) -> bool:
        """Whether the event was not seen lately."""
        if event_id in self._seen:
            return False
        self._seen[event_id] = None
        if len(self._seen) > _REMEMBERED_IDS:
            del self._seen[next(iter(self._seen))]
        return True


class Replays:
    """Counts, begins, resumes and runs replays."""

    def __init__(
        self,
        *,
        consumers: Consumers,
        log: Log,
        inboxes: Inboxes,
        kept: KeptReplays,
        publisher: EventPublisher,
        audit: Audit,
        clock: Clock | None = None,
    ) -> None:
        self._consumers = consumers
        self._log = log
        self._inboxes = inboxes
        self._kept = kept
        self._publisher = publisher
        self._audit = audit
        self._clock = clock or SystemClock()

    async def count(self, consumer: str, wanted: EventFilter) -> ReplayCount:
        """What a replay would do: a dry run.

        Raises:
            ConsumerNotFound, ConsumerHasNoLog: nothing can be replayed to it.
        """
        queue = self._consumers.find_replayable(consumer)
        counted = ReplayCount()
        repeated = _Repeated()
        batch: list[UUID] = []

        async def compare() -> None:
            known = await self._inboxes.known_events(queue.name, batch)
            counted.new += sum(event_id not in known and repeated.is_new(event_id) for event_id in batch)
            batch.clear()

        reading = self._read(wanted, start=_likely_begin(wanted), end_offset=None)
        async with contextlib.aclosing(reading) as events:
            async for logged in events:
                if not is_bound(queue, logged):
                    continue
                if logged.event is None:
                    counted.undecodable += 1
                elif wanted.takes(logged.event):
                    counted.events += 1
                    batch.append(logged.event.id)
                    if len(batch) >= _BATCH_SIZE:
                        await compare()
        await compare()
        counted.processed_before = counted.events - counted.new
        return counted

    async def begin(self, consumer: str, wanted: EventFilter, *, who: str, rate: float | None) -> HeldReplay:
        """Note a replay of what the log holds now; :meth:`run` carries it out.

        Raises:
            ConsumerNotFound, ConsumerHasNoLog: nothing can be replayed to it.
        """
        queue = self._consumers.find_replayable(consumer)
        end_offset = await self._log.end()
        described = wanted.model_dump(mode="json", exclude_defaults=True)
        audit_id = await self._audit.begin(
            who=who, action="events replay", wanted={"to": queue.name, "rate": rate, **described}
        )
        try:
            return await self._kept.insert(
                replay_id=new_id(),
                audit_id=audit_id,
                consumer=queue.name,
                wanted=wanted,
                rate=rate,
                end_offset=end_offset,
            )
        except JettyThunderError as error:
            await self._audit.finish_failed(audit_id, error)
            raise

    async def fetch(self, replay_id: UUID) -> Replay:
        """One replay.

        Raises:
            ReplayNotFound: there is none.
        """
        found = await self._kept.fetch(replay_id)
        if found is None:
            raise ReplayNotFound
        return found

    async def newest(self, *, limit: int) -> list[Replay]:
        """The last replays, newest first."""
        return await self._kept.newest(limit=limit)

    async def resume(self, replay_id: UUID, *, who: str) -> HeldReplay:
        """Take over a replay that was cut off; :meth:`run` carries it out from where it was.

        One of events by their ids begins anew, since it is short: what their consumer has processed meanwhile
        it does not get again.

        Raises:
            ReplayNotFound: there is none.
            ReplayNotResumable: it runs or is completed.
        """
        found = await self.fetch(replay_id)
        audit_id = await self._audit.begin(
            who=who, action="events replay resume", wanted={"replay": str(replay_id), "to": found.consumer}
        )
        held = await self._kept.claim(replay_id, audit_id=audit_id)
        if held is None:
            await self._audit.finish_failed(audit_id, ReplayNotResumable())
            raise ReplayNotResumable
        return held

    async def run(self, begun: HeldReplay, on_progress: Progress = lambda _: None) -> Replay:
        """Deliver the events; returns when the consumer's queue has confirmed the last.

        Raises:
            BrokerUnavailable, DatabaseUnavailable: a server was lost; the replay can be resumed.
            ReplayTakenOver: it was silent for too long, and was resumed elsewhere.
        """
        held = begun
        try:
            async for held in self._delivering(begun):
                on_progress(held.replay)
        except ReplayTakenOver as error:
            await self._audit.finish_failed(begun.audit_id, error, _result(held, ReplayStatus.INTERRUPTED))
            raise
        except BaseException:
            await self._interrupt(held)
            raise
        return await self._end(held, ReplayStatus.COMPLETED)

    async def _delivering(self, held: HeldReplay) -> AsyncGenerator[HeldReplay, None]:
        """Deliver batch after batch, and tell how far it is after each."""
        if held.replay.filter.ids:
            held = held.restarted()
        replay = held.replay
        queue = self._consumers.find_replayable(replay.consumer)
        pace = Pace(replay.rate, self._clock, largest_batch=_BATCH_SIZE)
        start = _likely_begin(replay.filter) if replay.next_offset is None else replay.next_offset
        batch: list[tuple[UUID, LoggedEvent]] = []
        read_count = replay.read_count

        async def deliver(next_offset: int) -> HeldReplay:
            known = await self._inboxes.known_events(queue.name, [event_id for event_id, _ in batch])
            new = [logged for event_id, logged in batch if event_id not in known]
            await self._publish(queue, replay.id, new)
            now = held.reached(
                next_offset,
                read_count=read_count,
                wanted=len(batch),
                processed_before=len(batch) - len(new),
            )
            await self._note(now)
            pace.did(len(new))
            batch.clear()
            return now

        reading = self._read(replay.filter, start=start, end_offset=replay.end_offset)
        async with contextlib.aclosing(reading) as events:
            async for logged in events:
                read_count += 1
                if is_bound(queue, logged) and logged.event and replay.filter.takes(logged.event):
                    batch.append((logged.event.id, logged))
                if len(batch) >= pace.batch_size or read_count % _BATCH_SIZE == 0:
                    held = await deliver(logged.offset + 1)
                    yield held
                    await self._wait(held, pace)
        held = await deliver(replay.end_offset)
        yield held

    async def _read(
        self, wanted: EventFilter, *, start: Offset, end_offset: int | None
    ) -> AsyncGenerator[LoggedEvent, None]:
        """The log from a place on.

        Where events are wanted by their ids, the place is that of the times in them, which are their makers':
        what lies before it is read where one was not found.
        """
        missing = set(wanted.ids)
        first_offset: int | None = None
        async with contextlib.aclosing(self._log.read(start=start, end_offset=end_offset)) as events:
            async for logged in events:
                first_offset = logged.offset if first_offset is None else first_offset
                if missing and logged.event is not None:
                    missing.discard(str(logged.event.id))
                yield logged
        if missing and start != wanted.begin:
            end_before = end_offset if first_offset is None else first_offset
            before = self._log.read(start=wanted.begin, end_offset=end_before)
            async with contextlib.aclosing(before) as events:
                async for logged in events:
                    yield logged

    async def _wait(self, held: HeldReplay, pace: Pace) -> None:
        """Wait until the next batch is due; a slow replay says that it is alive meanwhile."""
        while (seconds := pace.due_in_seconds) > 0:
            await self._clock.sleep(min(seconds, HEARTBEAT_SECONDS))
            if seconds > HEARTBEAT_SECONDS:
                await self._note(held)

    async def _note(self, held: HeldReplay) -> None:
        if await self._kept.note(held, ReplayStatus.RUNNING) is None:
            raise ReplayTakenOver

    async def _publish(self, queue: ConsumerQueue, replay_id: UUID, events: Sequence[LoggedEvent]) -> None:
        # Without reply_to: whoever waited for an answer then does not wait now.
        unroutable = await self._publisher.publish_all(
            [
                Message(
                    logged.body,
                    exchange=queue.replay_exchange,
                    routing_key=logged.routing_key,
                    event_type=logged.routing_key,
                    message_id=logged.message_id,
                    headers={topology.REPLAY_HEADER: str(replay_id)},
                    content_type=logged.content_type,
                )
                for logged in events
            ]
        )
        if unroutable:
            raise Unroutable(queue.name)

    async def _interrupt(self, held: HeldReplay) -> None:
        """Note the interruption; where that fails, the replay's silence says the same a minute later."""
        try:
            await self._end(held, ReplayStatus.INTERRUPTED)
        except JettyThunderError as error:
            log.warning("replay's interruption not noted", replay=str(held.replay.id), code=error.code)

    async def _end(self, held: HeldReplay, status: ReplayStatus) -> Replay:
        at = await self._kept.note(held, status)
        if at is None:
            raise ReplayTakenOver
        await self._audit.finish(held.audit_id, _result(held, status))
        return held.ended(status, at)


def _likely_begin(wanted: EventFilter) -> Offset:
    """A place before everything wanted, if the times in the ids that are wanted are right."""
    times = [made_at for event_id in wanted.ids if (made_at := time_of(event_id)) is not None]
    if wanted.since is None and times and len(times) == len(wanted.ids):
        return place_before(min(times))
    return wanted.begin


def is_bound(queue: ConsumerQueue, logged: LoggedEvent) -> bool:
    """Whether the consumer's queue took this message when it was published."""
    return logged.exchange == queue.exchange and logged.routing_key in queue.payload_of


def _result(held: HeldReplay, status: ReplayStatus) -> dict[str, object]:
    replay = held.replay
    return {
        "replay": str(replay.id),
        "status": status,
        "replayed": replay.replayed_count,
        "processed_before": replay.processed_before_count,
        "read": replay.read_count,
    }
