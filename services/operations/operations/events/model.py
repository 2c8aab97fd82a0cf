"""Events of the log as operators see them, and the tree of what caused what."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from jettythunder.contracts.envelope import RawEvent


class Logged(Protocol):
    """An event at its place in the log. ``event`` is None where it can't be decoded."""

    @property
    def offset(self) -> int: ...

    @property
    def event(self) -> RawEvent | None: ...


class LoggedEventView(BaseModel):
    """A message of the log. One that can't be decoded has its body as text instead of an event."""

    model_config = ConfigDict(frozen=True)

    offset: int
    exchange: str
    routing_key: str
    message_id: str
    event: dict[str, Any] | None
    body: str | None = Field(default=None, exclude_if=lambda body: body is None)


class Processed(BaseModel):
    """When a consumer processed an event."""

    consumer: str
    processed_at: datetime


class ShownEvent(LoggedEventView):
    """An event of the log, and the consumers that have processed it."""

    processed: list[Processed]


class EventPage(BaseModel):
    """Events of the log, and the offset that the next page begins at."""

    events: list[LoggedEventView]
    next_offset: int


class TraceNode(BaseModel):
    """An event and what it caused directly. Commands are not in the log: of one, only its id is known."""

    id: str
    type: str | None = None
    source: str | None = None
    subject: str | None = None
    time: datetime | None = None
    offset: int | None = None
    children: list["TraceNode"] = []


def build_trace(logged_events: Sequence[Logged]) -> list[TraceNode]:
    """Join events by what caused them; roots and children are in the order of time."""
    nodes: dict[str, TraceNode] = {}
    causes: dict[str, str | None] = {}
    for logged in logged_events:
        event = logged.event
        if event is not None and str(event.id) not in nodes:
            nodes[str(event.id)] = _node(event, logged.offset)
            causes[str(event.id)] = event.causationid
    for unlogged in {cause for cause in causes.values() if cause is not None and cause not in nodes}:
        nodes[unlogged] = TraceNode(id=unlogged)
        causes[unlogged] = None
    roots: list[TraceNode] = []
    for event_id, cause in causes.items():
        is_root = cause is None or _leads_back(event_id, causes)
        siblings = roots if is_root or cause is None else nodes[cause].children
        siblings.append(nodes[event_id])
    for node in nodes.values():
        node.children.sort(key=_begin)
    return sorted(roots, key=_begin)


def _leads_back(event_id: str, causes: dict[str, str | None]) -> bool:
    """Whether following the causes from an event leads to it again: it would be under no root."""
    seen: set[str] = set()
    cause = causes[event_id]
    while cause is not None and cause not in seen:
        if cause == event_id:
            return True
        seen.add(cause)
        cause = causes[cause]
    return False


def _node(event: RawEvent, offset: int) -> TraceNode:
    return TraceNode(
        id=str(event.id),
        type=event.type,
        source=event.source,
        subject=event.subject,
        time=event.time,
        offset=offset,
    )


def _begin(node: TraceNode) -> float:
    if node.time is not None:
        return node.time.timestamp()
    return min((child.time.timestamp() for child in node.children if child.time is not None), default=0.0)
