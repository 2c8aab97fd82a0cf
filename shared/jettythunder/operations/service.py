"""All operations, over connections of their own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.event_log import EventFilter, EventLog, LoggedEvent, Offset, open_event_log
from jettythunder.broker.publisher import Publisher
from jettythunder.database import Pool, queries
from jettythunder.errors import EventNotFound
from jettythunder.operations.audit import Audit
from jettythunder.operations.dead_letters import DeadLetters
from jettythunder.operations.replay import Replays, find_events
from jettythunder.operations.tracing import TraceNode, build_trace

_queries = queries("jettythunder.operations")


class Processed(BaseModel):
    """When a consumer processed an event."""

    consumer: str
    processed_at: datetime


@dataclass(frozen=True)
class Page:
    """Events of the log, and the place to go on from."""

    events: list[LoggedEvent]
    next_offset: int


@dataclass(frozen=True)
class Operations:
    """What ops can do. Make one with :func:`open_operations`."""

    pool: Pool
    log: EventLog
    replays: Replays
    dead_letters: DeadLetters
    audit: Audit

    async def page(
        self, wanted: EventFilter, *, start: Offset | None, limit: int, wait_seconds: float
    ) -> Page:
        """The wanted events from a place in the log on, by default from the first that may be wanted.

        Where the log has none of them yet, the first to come is waited for.
        """
        end = await self.log.end()
        begin = end if start == "next" else wanted.begin if start is None else start
        found: list[LoggedEvent] = []
        async with contextlib.aclosing(self.log.read(start=begin, end_offset=end)) as events:
            async for logged in events:
                if wanted.takes_logged(logged):
                    found.append(logged)
                    if len(found) == limit:
                        return Page(found, logged.offset + 1)
        if found or not wait_seconds:
            return Page(found, end)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_seconds), contextlib.aclosing(self.log.follow(start=end)) as news:
                async for logged in news:
                    end = logged.offset + 1
                    if wanted.takes_logged(logged):
                        return Page([logged], end)
        return Page([], end)

    async def show(self, event_id: UUID) -> tuple[LoggedEvent, list[Processed]]:
        """An event of the log, and the consumers that have processed it.

        Raises:
            EventNotFound: the log does not have it.
        """
        async with contextlib.aclosing(find_events(self.log, EventFilter(ids=(str(event_id),)))) as found:
            async for logged in found:
                rows = _queries.processed_by(self.pool, event_id=event_id)
                return logged, [Processed(**dict(row)) async for row in rows]
        raise EventNotFound

    async def trace(self, correlation_id: str) -> list[TraceNode]:
        """The causal tree of everything with this correlation id.

        Raises:
            EventNotFound: the log has nothing with it.
        """
        wanted = EventFilter(correlation_id=correlation_id)
        found = [logged async for logged in find_events(self.log, wanted)]
        if not found:
            raise EventNotFound(
                f"The event log has nothing with the correlation id {correlation_id[:128]!r}."
            )
        return build_trace(found)


@contextlib.asynccontextmanager
async def open_operations(pool: Pool, rabbitmq_url: str) -> AsyncIterator[Operations]:
    """Connect to the broker, once to read and once to publish, and disconnect at the end.

    Raises:
        BrokerUnavailable: it can't be reached within five seconds.
    """
    async with open_event_log(rabbitmq_url) as log:
        link = BrokerLink(rabbitmq_url, name="operations publisher")
        audit, publisher = Audit(pool), Publisher(link)
        try:
            yield Operations(
                pool=pool,
                log=log,
                replays=Replays(pool, log, publisher, audit),
                dead_letters=DeadLetters(rabbitmq_url, publisher, audit),
                audit=audit,
            )
        finally:
            await link.close()


def describe(logged: LoggedEvent) -> dict[str, Any]:
    """An event of the log as JSON shows it."""
    event = logged.event.model_dump(mode="json", exclude_none=True) if logged.event else None
    return {
        "offset": logged.offset,
        "exchange": logged.exchange,
        "routing_key": logged.routing_key,
        "message_id": logged.message_id,
        "event": event,
        **({} if event else {"body": logged.body.decode(errors="replace")}),
    }
