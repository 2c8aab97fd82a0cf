"""Operations on the database and the broker themselves, through the service's use-cases."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from pydantic import Field, PostgresDsn

from jettythunder.broker.event_log import EventFilter
from jettythunder.settings import BrokerSettings
from jettythunder_operators.operating import as_api_errors, read_settings
from jettythunder_operators.operations.interface import Place
from operations.assembly import Operations as UseCases
from operations.assembly import open_operations
from operations.audit import AuditEntry
from operations.dead_letters import DeadLetter, DeadLetterGroup, Selection
from operations.events import LoggedEventView, LogRetention, ShownEvent, TraceNode
from operations.replays import HeldReplay, Replay, ReplayCount

Given = TypeVar("Given")


class Servers(BrokerSettings):
    """The servers that operations need."""

    database_url: PostgresDsn = Field(description="PostgreSQL, postgresql://user:password@host:port/name")


class DirectOperations:
    """What the commands do, done by this process.

    Args:
        who: the operator's name, for the audit.
    """

    outlives_command = False

    def __init__(self, use_cases: UseCases, runner: asyncio.Runner, *, who: str) -> None:
        self._events = use_cases.events
        self._retention = use_cases.retention
        self._replays = use_cases.replays
        self._dead_letters = use_cases.dead_letters
        self._audit = use_cases.audit
        self._runner = runner
        self._who = who

    @contextlib.contextmanager
    def tail(self, wanted: EventFilter, *, start: Place, follow: bool) -> Iterator[Iterator[LoggedEventView]]:
        """The wanted events, as the log delivers them."""
        begin = wanted.begin if start is None else start
        events = self._events.tail(wanted, start=begin, follow=follow)
        try:
            yield self._each(events)
        finally:
            self._run(events.aclose())

    def _each(self, events: AsyncGenerator[LoggedEventView, None]) -> Iterator[LoggedEventView]:
        while (event := self._run(_next(events))) is not None:
            yield event

    def show(self, event_id: UUID, *, since: datetime | None) -> ShownEvent:
        """One event."""
        return self._run(self._events.show(event_id, since=since))

    def trace(self, correlation_id: str, *, since: datetime | None) -> list[TraceNode]:
        """The causal tree of a request."""
        return self._run(self._events.trace(correlation_id, since=since))

    def retention(self) -> LogRetention:
        """How many hours the event log keeps."""
        return self._run(self._retention.measure())

    def count_replay(self, to: str, wanted: EventFilter) -> ReplayCount:
        """What a replay would do."""
        return self._run(self._replays.count(to, wanted))

    def replay(
        self, to: str, wanted: EventFilter, *, rate: float | None, on_progress: Callable[[Replay], None]
    ) -> Replay:
        """Replay events."""
        return self._carry_out(self._replays.begin(to, wanted, who=self._who, rate=rate), on_progress)

    def resume(self, replay_id: UUID, *, on_progress: Callable[[Replay], None]) -> Replay:
        """Go on with an interrupted replay."""
        return self._carry_out(self._replays.resume(replay_id, who=self._who), on_progress)

    def _carry_out(
        self, begin: Coroutine[Any, Any, HeldReplay], on_progress: Callable[[Replay], None]
    ) -> Replay:
        async def begin_and_run() -> Replay:
            held = await begin
            on_progress(held.replay)
            return await self._replays.run(held, on_progress)

        return self._run(begin_and_run())

    def replays(self, limit: int) -> list[Replay]:
        """The last replays, newest first."""
        return self._run(self._replays.newest(limit=limit))

    def audit(self, limit: int) -> list[AuditEntry]:
        """What was done last, newest first."""
        return self._run(self._audit.newest(limit=limit))

    def dead_letter_groups(self, consumer: str | None) -> list[DeadLetterGroup]:
        """Dead letters by consumer, exception and where it was raised."""
        return self._run(self._dead_letters.groups(consumer))

    def dead_letter(self, message_id: str, *, consumer: str | None) -> DeadLetter:
        """One dead letter."""
        return self._run(self._dead_letters.fetch(message_id, consumer=consumer))

    def retry(self, selection: Selection, *, rate: float | None, on_progress: Callable[[int], None]) -> int:
        """Give dead letters back to their consumer."""
        retrying = self._dead_letters.retry(selection, who=self._who, rate=rate, on_progress=on_progress)
        return self._run(retrying)

    def edit_and_retry(self, message_id: str, body: str, *, consumer: str | None) -> None:
        """Give a dead letter back with another body."""
        self._run(self._dead_letters.edit_and_retry(message_id, body, who=self._who, consumer=consumer))

    def discard(self, selection: Selection, *, why: str, on_progress: Callable[[int], None]) -> int:
        """Remove dead letters."""
        discarding = self._dead_letters.discard(selection, why=why, who=self._who, on_progress=on_progress)
        return self._run(discarding)

    def _run(self, work: Coroutine[Any, Any, Given]) -> Given:
        with as_api_errors():
            return self._runner.run(work)


@contextlib.contextmanager
def direct_operations(*, who: str) -> Iterator[DirectOperations]:
    """The operations, on the servers of DATABASE_URL and RABBITMQ_URL.

    Raises:
        InvalidConfiguration: one of them is not set, or wrong.
        ApiError: the database can't be reached.
    """
    servers = read_settings(Servers)
    opened = open_operations(str(servers.database_url), servers)
    with asyncio.Runner() as runner:
        with as_api_errors():
            use_cases = runner.run(opened.__aenter__())
        try:
            yield DirectOperations(use_cases, runner, who=who)
        finally:
            runner.run(opened.__aexit__(None, None, None))


async def _next(events: AsyncGenerator[LoggedEventView, None]) -> LoggedEventView | None:
    return await anext(events, None)
