"""The event log, read as ops read it."""

from __future__ import annotations

from jettythunder.broker.event_log import open_event_log
from jettythunder.contracts.envelope import RawEvent


async def logged_events(rabbitmq_url: str, event_type: str | None = None) -> list[RawEvent]:
    """The events that the log holds at this moment, of one type or of all; what is no event is left out."""
    async with open_event_log(rabbitmq_url) as log:
        events = [logged.event async for logged in log.read() if logged.event is not None]
    return [event for event in events if event_type in (None, event.type)]
