"""The causal tree of what one request or sign-up set off, across all services."""

from datetime import datetime

from pydantic import BaseModel

from jettythunder.broker.event_log import LoggedEvent
from jettythunder.contracts.envelope import RawEvent


class TraceNode(BaseModel):
    """An event and what it caused directly. Commands are not in the log: of one, only its id is known."""

    id: str
    type: str | None = None
    source: str | None = None
    subject: str | None = None
    time: datetime | None = None
    offset: int | None = None
    children: list["TraceNode"] = []


def build_trace(logged_events: list[LoggedEvent]) -> list[TraceNode]:
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
        # An event that names itself as its cause would be nobody's root.
        siblings = nodes[cause].children if cause is not None and cause != event_id else roots
        siblings.append(nodes[event_id])
    for node in nodes.values():
        node.children.sort(key=_begin)
    return sorted(roots, key=_begin)


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
