"""Servers of operations, in memory."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from jettythunder.broker.confirms import Message
from jettythunder.broker.dead_letter_queue import WINDOW_SIZE, DeadMessage
from jettythunder.broker.event_log import EventFilter, LoggedEvent, Offset
from jettythunder.broker.settling import failure_of
from jettythunder.broker.topology import COMMANDS, EVENTS, ConsumerQueue
from jettythunder.contracts.accounts import RotateCredentialsV1
from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.contracts.envelope import RawEvent
from jettythunder.errors import BrokerUnavailable
from operations.audit import AuditEntry
from operations.consumers import Consumers
from operations.events import Processed
from operations.replays import HeldReplay, Replay, ReplayStatus

NOW = datetime(2030, 1, 1, tzinfo=UTC)
METER = ConsumerQueue(name="meter.events", exchange=EVENTS, payloads=(AssetDeletedV1,))
MAKER = ConsumerQueue(name="maker.commands", exchange=COMMANDS, payloads=(RotateCredentialsV1,))
CONSUMERS = Consumers((METER, MAKER))


class FakeClock:
    """Time that passes only by sleeping."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def uuid7(at: datetime) -> UUID:
    """A UUIDv7 of that time."""
    return UUID(int=(round(at.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62))


def logged(
    offset: int,
    *,
    event_id: UUID | None = None,
    cause: UUID | None = None,
    correlation: str | None = None,
    decodable: bool = True,
    at: datetime = NOW,
) -> LoggedEvent:
    """An event of the log that the meter takes."""
    event = RawEvent(
        id=event_id or uuid4(),
        source="/test",
        type=AssetDeletedV1.TYPE,
        time=at,
        correlationid=correlation,
        causationid=str(cause) if cause else None,
    )
    return LoggedEvent(
        offset=offset,
        exchange=EVENTS,
        routing_key=AssetDeletedV1.TYPE,
        message_id=str(event.id),
        content_type="",
        body=event.encode() if decodable else b"{}",
    )


@dataclass
class FakeLog:
    """An event log; ``starts`` says where reading began."""

    events: list[LoggedEvent] = field(default_factory=list)
    to_come: list[LoggedEvent] = field(default_factory=list)
    starts: list[Offset] = field(default_factory=list)

    async def end(self) -> int:
        return self.events[-1].offset + 1 if self.events else 0

    async def read(
        self, *, start: Offset = "first", end_offset: int | None = None
    ) -> AsyncGenerator[LoggedEvent, None]:
        self.starts.append(start)
        for each in self.events:
            too_early = isinstance(start, int) and each.offset < start
            if isinstance(start, datetime) and each.event is not None and each.event.time < start:
                too_early = True
            if not too_early and (end_offset is None or each.offset < end_offset):
                yield each

    async def follow(self, *, start: Offset = "next") -> AsyncGenerator[LoggedEvent, None]:
        for each in self.to_come:
            yield each


@dataclass
class FakeInboxes:
    """What consumers have processed."""

    known: set[UUID] = field(default_factory=set)

    async def processed_by(self, event_id: UUID) -> list[Processed]:
        return [Processed(consumer=METER.name, processed_at=NOW)] if event_id in self.known else []

    async def known_events(self, consumer: str, event_ids: list[UUID]) -> set[UUID]:
        return self.known & set(event_ids)


@dataclass
class FakeEntries:
    """The audit's table."""

    entries: dict[int, AuditEntry] = field(default_factory=dict)
    notes: list[Mapping[str, Any]] = field(default_factory=list)

    async def begin(self, *, who: str, action: str, wanted: Mapping[str, Any]) -> int:
        number = len(self.entries) + 1
        self.entries[number] = AuditEntry(
            id=number,
            who=who,
            began_at=NOW,
            action=action,
            filter=dict(wanted),
            result=None,
            finished_at=None,
        )
        return number

    async def note(self, audit_id: int, result: Mapping[str, Any]) -> None:
        self.notes.append(dict(result))

    async def finish(self, audit_id: int, result: Mapping[str, Any]) -> None:
        update = {"result": dict(result), "finished_at": NOW}
        self.entries[audit_id] = self.entries[audit_id].model_copy(update=update)

    async def newest(self, *, limit: int) -> list[AuditEntry]:
        return list(self.entries.values())[::-1][:limit]


@dataclass
class FakeReplays:
    """The table of replays."""

    held: dict[UUID, HeldReplay] = field(default_factory=dict)
    notes: list[tuple[int | None, ReplayStatus]] = field(default_factory=list)

    async def insert(
        self,
        *,
        replay_id: UUID,
        audit_id: int,
        consumer: str,
        wanted: EventFilter,
        rate: float | None,
        end_offset: int,
    ) -> HeldReplay:
        replay = Replay(
            id=replay_id,
            who="somebody",
            consumer=consumer,
            filter=wanted,
            rate=rate,
            next_offset=None,
            end_offset=end_offset,
            read_count=0,
            replayed_count=0,
            status=ReplayStatus.RUNNING,
            started_at=NOW,
            updated_at=NOW,
        )
        self.held[replay_id] = HeldReplay(replay, audit_id)
        return self.held[replay_id]

    async def fetch(self, replay_id: UUID) -> Replay | None:
        return self.held[replay_id].replay if replay_id in self.held else None

    async def newest(self, *, limit: int) -> list[Replay]:
        return [held.replay for held in self.held.values()][:limit]

    async def claim(self, replay_id: UUID, *, audit_id: int) -> HeldReplay | None:
        held = self.held[replay_id]
        if held.replay.status is not ReplayStatus.INTERRUPTED:
            return None
        replay = held.replay.model_copy(update={"status": ReplayStatus.RUNNING})
        self.held[replay_id] = HeldReplay(replay, audit_id)
        return self.held[replay_id]

    async def note(self, held: HeldReplay, status: ReplayStatus) -> datetime | None:
        current = self.held[held.replay.id]
        if current.audit_id != held.audit_id or current.replay.status is not ReplayStatus.RUNNING:
            return None
        replay = held.replay.model_copy(update={"status": status})
        self.held[held.replay.id] = HeldReplay(replay, held.audit_id)
        self.notes.append((held.replay.next_offset, status))
        return NOW


@dataclass
class FakePublisher:
    """Takes messages, up to the one that it fails at."""

    published: list[str] = field(default_factory=list)
    fails_at: int | None = None

    async def publish_all(self, messages: Sequence[Message]) -> set[str]:
        for message in messages:
            if len(self.published) == self.fails_at:
                raise BrokerUnavailable
            self.published.append(message.message_id)
        return set()


def dead(
    message_id: str, *, error: str = "app.Wrong", fingerprint: str = "f", kind: str = "t"
) -> DeadMessage:
    """A dead letter."""
    headers = {"x-jt-error-type": error, "x-jt-fingerprint": fingerprint}
    return DeadMessage(
        message_id=message_id,
        event_type=kind,
        content_type="",
        correlation_id=None,
        headers=headers,
        body=b"{}",
        failure=failure_of(headers),
    )


@dataclass
class FakeDeadLetters:
    """The dead-letter queues; ``sizes`` says how large the windows were that were asked for."""

    queues: dict[str, list[DeadMessage]] = field(default_factory=dict)
    given_back: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    largest: int = 0
    fails_at: str | None = None

    @contextlib.asynccontextmanager
    async def open(
        self, queue: ConsumerQueue, *, window_size: int = WINDOW_SIZE
    ) -> AsyncIterator[_FakeQueue | None]:
        self.sizes.append(window_size)
        if queue.name not in self.queues:
            yield None
            return
        try:
            yield _FakeQueue(self, self.queues[queue.name], window_size)
        finally:
            self.queues[queue.name] = [m for m in self.queues[queue.name] if not m.is_removed]

    async def give_back(
        self,
        queue: ConsumerQueue,
        message: DeadMessage,
        *,
        body: bytes | None = None,
        event_type: str | None = None,
        message_id: str | None = None,
    ) -> None:
        if message.message_id == self.fails_at:
            raise BrokerUnavailable
        self.given_back.append(message.message_id)


@dataclass
class _FakeQueue:
    all: FakeDeadLetters
    messages: list[DeadMessage]
    window_size: int

    async def windows(self) -> AsyncGenerator[list[DeadMessage], None]:
        for begin in range(0, len(self.messages), self.window_size):
            window = self.messages[begin : begin + self.window_size]
            self.all.largest = max(self.all.largest, len(window))
            yield window
