"""The event log, as operators read it."""

from operations.events.find import Events
from operations.events.model import EventPage, LoggedEventView, Processed, ShownEvent, TraceNode

__all__ = ["EventPage", "Events", "LoggedEventView", "Processed", "ShownEvent", "TraceNode"]
