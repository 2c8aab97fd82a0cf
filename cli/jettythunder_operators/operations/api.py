"""Operations through the service's API."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from urllib.parse import quote
from uuid import UUID

from jettythunder.broker.event_log import EventFilter
from jettythunder_client.errors import ApiError
from jettythunder_operators.api import OperatorsApi
from jettythunder_operators.operations.interface import Place
from operations.audit import AuditEntry
from operations.dead_letters import DeadLetter, DeadLetterGroup, Selection
from operations.errors import ReplayInterrupted
from operations.events import EventPage, LoggedEventView, LogRetention, ShownEvent, TraceNode
from operations.replays import Replay, ReplayCount, ReplayStatus

_PAGE_SIZE = 1000
_WAIT_SECONDS = 30
_POLL_SECONDS = 0.5


class ApiOperations:
    """What the commands do, done by the service.

    Args:
        who: the operator's name, for the audit.
        sleep: waits between two looks at a replay.
    """

    outlives_command = True

    def __init__(self, api: OperatorsApi, *, who: str, sleep: Callable[[float], None] = time.sleep) -> None:
        self._api = api
        self._who = {"X-Operator": who}
        self._sleep = sleep

    @contextlib.contextmanager
    def tail(self, wanted: EventFilter, *, start: Place, follow: bool) -> Iterator[Iterator[LoggedEventView]]:
        """The wanted events, page by page; with ``follow`` each page waits for the next event."""
        yield self._pages(wanted, start, follow)

    def _pages(self, wanted: EventFilter, start: Place, follow: bool) -> Iterator[LoggedEventView]:
        query = {
            "type": list(wanted.types),
            "account": wanted.account,
            "subject": wanted.subject,
            "correlation_id": wanted.correlation_id,
            "since": _iso(wanted.since),
            "until": _iso(wanted.until),
            "limit": _PAGE_SIZE,
            "wait_seconds": _WAIT_SECONDS if follow else 0,
        }
        while True:
            page = EventPage.model_validate(self._get("/events", query={**query, "from": start}))
            yield from page.events
            if not follow and len(page.events) < _PAGE_SIZE:
                return
            start = page.next_offset

    def show(self, event_id: UUID, *, since: datetime | None) -> ShownEvent:
        """One event."""
        return ShownEvent.model_validate(self._get(f"/events/{event_id}", query={"since": _iso(since)}))

    def trace(self, correlation_id: str, *, since: datetime | None) -> list[TraceNode]:
        """The causal tree of a request."""
        found = self._get(f"/traces/{quote(correlation_id, safe='')}", query={"since": _iso(since)})
        return [TraceNode.model_validate(root) for root in found]

    def count_replay(self, to: str, wanted: EventFilter) -> ReplayCount:
        """What a replay would do."""
        body = {"to": to, "filter": _filter_body(wanted)}
        return ReplayCount.model_validate(self._post("/replays/dry-run", body))

    def replay(
        self, to: str, wanted: EventFilter, *, rate: float | None, on_progress: Callable[[Replay], None]
    ) -> Replay:
        """Have the service replay events, and wait for the end."""
        body = {"to": to, "filter": _filter_body(wanted), "rate": rate}
        return self._watch(Replay.model_validate(self._post("/replays", body)), on_progress)

    def resume(self, replay_id: UUID, *, on_progress: Callable[[Replay], None]) -> Replay:
        """Have the service go on with an interrupted replay, and wait for the end."""
        begun = Replay.model_validate(self._post(f"/replays/{replay_id}/resume", None))
        return self._watch(begun, on_progress)

    def _watch(self, replay: Replay, on_progress: Callable[[Replay], None]) -> Replay:
        on_progress(replay)
        while replay.status is ReplayStatus.RUNNING:
            self._sleep(_POLL_SECONDS)
            replay = Replay.model_validate(self._get(f"/replays/{replay.id}"))
            on_progress(replay)
        if replay.status is ReplayStatus.INTERRUPTED:
            error = ReplayInterrupted()
            raise ApiError(error.detail, code=error.code, status=error.status, retryable=error.retryable)
        return replay

    def retention(self) -> LogRetention:
        """How many hours the event log keeps."""
        return LogRetention.model_validate(self._get("/event-log"))

    def replays(self, limit: int) -> list[Replay]:
        """The last replays, newest first."""
        return [Replay.model_validate(each) for each in self._get("/replays", query={"limit": limit})]

    def audit(self, limit: int) -> list[AuditEntry]:
        """What was done last, newest first."""
        return [AuditEntry.model_validate(each) for each in self._get("/audit", query={"limit": limit})]

    def dead_letter_groups(self, consumer: str | None) -> list[DeadLetterGroup]:
        """Dead letters by consumer, exception and where it was raised."""
        found = self._get("/dead-letters", query={"consumer": consumer})
        return [DeadLetterGroup.model_validate(each) for each in found]

    def dead_letter(self, message_id: str, *, consumer: str | None) -> DeadLetter:
        """One dead letter."""
        path = f"/dead-letters/{quote(message_id, safe='')}"
        return DeadLetter.model_validate(self._get(path, query={"consumer": consumer}))

    def retry(self, selection: Selection, *, rate: float | None, on_progress: Callable[[int], None]) -> int:
        """Give dead letters back to their consumer; the service answers at the end."""
        body = {"selection": _selection_body(selection), "rate": rate}
        count = int(self._post("/dead-letters/retry", body)["retried"])
        on_progress(count)
        return count

    def edit_and_retry(self, message_id: str, body: str, *, consumer: str | None) -> None:
        """Give a dead letter back with another body."""
        path = f"/dead-letters/{quote(message_id, safe='')}/edit-and-retry"
        self._post(path, {"body": body, "consumer": consumer})

    def discard(self, selection: Selection, *, why: str, on_progress: Callable[[int], None]) -> int:
        """Remove dead letters; the service answers at the end."""
        body = {"selection": _selection_body(selection), "why": why}
        count = int(self._post("/dead-letters/discard", body)["discarded"])
        on_progress(count)
        return count

    def _get(self, path: str, *, query: dict[str, Any] | None = None) -> Any:
        return self._api.call("GET", f"/admin{path}", query=query)

    def _post(self, path: str, body: Any) -> Any:
        return self._api.call("POST", f"/admin{path}", body=body, headers=self._who)


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _filter_body(wanted: EventFilter) -> dict[str, Any]:
    return wanted.model_dump(mode="json", exclude_defaults=True)


def _selection_body(selection: Selection) -> dict[str, Any]:
    return selection.model_dump(mode="json", exclude_defaults=True)
