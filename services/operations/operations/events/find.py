"""Reading the event log: pages of events, one event, the trace of a request, and events as they come."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Protocol
from uuid import UUID

from jettythunder.broker.event_log import EventFilter, LoggedEvent, Offset, place_before
from jettythunder.ids import time_of
from operations.errors import EventNotFound
from operations.events.model import (
    EventPage,
    LoggedEventView,
    Processed,
    ShownEvent,
    TraceNode,
    build_trace,
)

_LONGEST_ID_SHOWN = 128


class Log(Protocol):
    """The event log."""

    async def end(self) -> int: ...

    def read(
        self, *, start: Offset = "first", end_offset: int | None = None
    ) -> AsyncGenerator[LoggedEvent, None]: ...

    def follow(self, *, start: Offset = "next") -> AsyncGenerator[LoggedEvent, None]: ...


class Inboxes(Protocol):
    """What the consumers have processed."""

    async def processed_by(self, event_id: UUID) -> list[Processed]: ...


class Events:
    """The events of the log."""

    def __init__(self, log: Log, inboxes: Inboxes) -> None:
        self._log = log
        self._inboxes = inboxes

    async def page(
        self, wanted: EventFilter, *, start: Offset | None, limit: int, wait_seconds: float
    ) -> EventPage:
        """The wanted events from a place in the log on, by default from the first that may be wanted.

        Where the log has none of them yet, the first to come is waited for.

        Raises:
            BrokerUnavailable: the broker was lost.
        """
        end = await self._log.end()
        begin = end if start == "next" else wanted.begin if start is None else start
        found: list[LoggedEventView] = []
        async with contextlib.aclosing(self._log.read(start=begin, end_offset=end)) as events:
            async for logged in events:
                if wanted.takes_logged(logged):
                    found.append(view(logged))
                    if len(found) == limit:
                        return EventPage(events=found, next_offset=logged.offset + 1)
        if found or not wait_seconds:
            return EventPage(events=found, next_offset=end)
        return await self._first_to_come(wanted, end, wait_seconds)

    async def _first_to_come(self, wanted: EventFilter, end: int, wait_seconds: float) -> EventPage:
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(wait_seconds),
                contextlib.aclosing(self._log.follow(start=end)) as events,
            ):
                async for logged in events:
                    end = logged.offset + 1
                    if wanted.takes_logged(logged):
                        return EventPage(events=[view(logged)], next_offset=end)
        return EventPage(events=[], next_offset=end)

    async def tail(
        self, wanted: EventFilter, *, start: Offset, follow: bool
    ) -> AsyncGenerator[LoggedEventView, None]:
        """The wanted events from a place on: those in the log, and with ``follow`` those to come too.

        Raises:
            BrokerUnavailable: the broker was lost.
        """
        events = self._log.follow(start=start) if follow else self._log.read(start=start)
        async with contextlib.aclosing(events):
            async for logged in events:
                if wanted.takes_logged(logged):
                    yield view(logged)

    async def show(self, event_id: UUID, *, since: datetime | None = None) -> ShownEvent:
        """An event of the log, and the consumers that have processed it.

        Args:
            since: a time before the event: the log is read from there on instead of from its start.

        Raises:
            EventNotFound: the log does not have it, or not from then on.
        """
        wanted = EventFilter(ids=(str(event_id),))
        async with contextlib.aclosing(self._search(wanted, str(event_id), since)) as found:
            async for logged in found:
                processed = await self._inboxes.processed_by(event_id)
                return ShownEvent(**dict(view(logged)), processed=processed)
        raise EventNotFound

    async def trace(self, correlation_id: str, *, since: datetime | None = None) -> list[TraceNode]:
        """The causal tree of everything with this correlation id.

        Args:
            since: a time before its first event: the log is read from there on instead of from its start.

        Raises:
            EventNotFound: the log has nothing with it, or not from then on.
        """
        wanted = EventFilter(correlation_id=correlation_id)
        found = [logged async for logged in self._search(wanted, correlation_id, since)]
        if not found:
            raise EventNotFound(
                f"The event log has nothing with the correlation id {correlation_id[:_LONGEST_ID_SHOWN]!r}."
            )
        return build_trace(found)

    async def _search(
        self, wanted: EventFilter, about: str, since: datetime | None
    ) -> AsyncGenerator[LoggedEvent, None]:
        begin = time_of(about) if since is None else since
        found_any = False
        if begin is not None:
            async with contextlib.aclosing(self._find(wanted, place_before(begin))) as found:
                async for logged in found:
                    found_any = True
                    yield logged
        # The time in an id is its maker's: where that misled, the whole log is read.
        if not found_any and since is None:
            async with contextlib.aclosing(self._find(wanted, "first")) as found:
                async for logged in found:
                    yield logged

    async def _find(self, wanted: EventFilter, start: Offset) -> AsyncGenerator[LoggedEvent, None]:
        async with contextlib.aclosing(self._log.read(start=start)) as events:
            async for logged in events:
                if logged.event is not None and wanted.takes(logged.event):
                    yield logged


def view(logged: LoggedEvent) -> LoggedEventView:
    """An event of the log as operators see it."""
    event = logged.event.model_dump(mode="json", exclude_none=True) if logged.event else None
    return LoggedEventView(
        offset=logged.offset,
        exchange=logged.exchange,
        routing_key=logged.routing_key,
        message_id=logged.message_id,
        event=event,
        body=None if event else logged.body.decode(errors="replace"),
    )
