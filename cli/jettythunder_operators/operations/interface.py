"""Operations as the commands use them, whoever does them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from jettythunder.broker.event_log import EventFilter
from operations.audit import AuditEntry
from operations.dead_letters import DeadLetter, DeadLetterGroup, Selection
from operations.events import LoggedEventView, LogRetention, ShownEvent, TraceNode
from operations.replays import Replay, ReplayCount

# Where in the log to begin: first, last, next, or an offset; None for the first that may be wanted.
Place: TypeAlias = str | int | None


class Operations(Protocol):
    """What the commands do."""

    @property
    def outlives_command(self) -> bool:
        """Whether a replay goes on when the command that began it is interrupted."""
        ...

    def tail(
        self, wanted: EventFilter, *, start: Place, follow: bool
    ) -> AbstractContextManager[Iterator[LoggedEventView]]:
        """The wanted events from a place on: those in the log, and with ``follow`` those to come too."""
        ...

    def show(self, event_id: UUID, *, since: datetime | None) -> ShownEvent:
        """One event."""
        ...

    def trace(self, correlation_id: str, *, since: datetime | None) -> list[TraceNode]:
        """The causal tree of a request."""
        ...

    def retention(self) -> LogRetention:
        """How many hours the event log keeps."""
        ...

    def count_replay(self, to: str, wanted: EventFilter) -> ReplayCount:
        """What a replay would do."""
        ...

    def replay(
        self, to: str, wanted: EventFilter, *, rate: float | None, on_progress: Callable[[Replay], None]
    ) -> Replay:
        """Replay events, and return when the last is delivered; progress is reported from the start on."""
        ...

    def resume(self, replay_id: UUID, *, on_progress: Callable[[Replay], None]) -> Replay:
        """Go on with an interrupted replay."""
        ...

    def replays(self, limit: int) -> list[Replay]:
        """The last replays, newest first."""
        ...

    def audit(self, limit: int) -> list[AuditEntry]:
        """What was done last, newest first."""
        ...

    def dead_letter_groups(self, consumer: str | None) -> list[DeadLetterGroup]:
        """Dead letters by consumer, exception and where it was raised."""
        ...

    def dead_letter(self, message_id: str, *, consumer: str | None) -> DeadLetter:
        """One dead letter."""
        ...

    def retry(self, selection: Selection, *, rate: float | None, on_progress: Callable[[int], None]) -> int:
        """Give dead letters back to their consumer; how many were."""
        ...

    def edit_and_retry(self, message_id: str, body: str, *, consumer: str | None) -> None:
        """Give a dead letter back with another body."""
        ...

    def discard(self, selection: Selection, *, why: str, on_progress: Callable[[int], None]) -> int:
        """Remove dead letters; how many were."""
        ...
