"""The event log, as operators read it."""

from operations.events.find import Events
from operations.events.model import EventPage, LoggedEventView, Processed, ShownEvent, TraceNode
from operations.events.retention import LogRetention, Retention

__all__ = [
    "EventPage",
    "Events",
    "LogRetention",
    "LoggedEventView",
    "Processed",
    "Retention",
    "ShownEvent",
    "TraceNode",
]
