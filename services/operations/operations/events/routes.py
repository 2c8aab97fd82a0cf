"""Events and traces over HTTP."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from jettythunder.broker.event_log import EventFilter
from jettythunder.http import OperatorRoute, provided, raises
from jettythunder.inputs import Moment
from operations.access import Limit
from operations.errors import EventNotFound
from operations.events.find import Events
from operations.events.model import EventPage, ShownEvent, TraceNode
from operations.events.retention import LogRetention, Retention

router = APIRouter(route_class=OperatorRoute)

AnyEvents = Annotated[Events, Depends(provided(Events))]
AnyRetention = Annotated[Retention, Depends(provided(Retention))]
# Stream offsets are 64-bit numbers.
Place = Literal["first", "last", "next"] | Annotated[int, Field(ge=0, lt=2**63)]
Since = Annotated[
    Moment | None,
    Query(description="A time before it: the log is read from there on instead of from its start"),
]


@router.get("/events")
async def find(
    events: AnyEvents,
    types: Annotated[list[str] | None, Query(alias="type")] = None,
    account: str | None = None,
    subject: str | None = None,
    correlation_id: str | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    start: Annotated[Place | None, Query(alias="from")] = None,
    limit: Limit = 100,
    wait_seconds: Annotated[float, Query(ge=0, le=30)] = 0,
) -> EventPage:
    """The first events of the log that fit; go on with the answer's `next_offset` as `from`.

    To watch events as they come, begin with `from=next` and give `wait_seconds`: where there is nothing yet,
    the answer waits for the first event that fits.
    """
    wanted = EventFilter(
        types=tuple(types or ()),
        account=account,
        subject=subject,
        correlation_id=correlation_id,
        since=since,
        until=until,
    )
    return await events.page(wanted, start=start, limit=limit, wait_seconds=wait_seconds)


@router.get("/event-log")
async def measure(retention: AnyRetention) -> LogRetention:
    """How many hours of events the log keeps at the rate of the last hour, by age and by bytes."""
    return await retention.measure()


@router.get("/events/{event_id}")
@raises(EventNotFound)
async def show(event_id: UUID, events: AnyEvents, since: Since = None) -> ShownEvent:
    """One event, and the consumers that have processed it."""
    return await events.show(event_id, since=since)


@router.get("/traces/{correlation_id}")
@raises(EventNotFound)
async def trace(correlation_id: str, events: AnyEvents, since: Since = None) -> list[TraceNode]:
    """The causal tree of everything with this correlation id."""
    return await events.trace(correlation_id, since=since)
