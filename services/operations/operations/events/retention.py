"""For how long the event log keeps events at the present rate, by age and by size."""

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from prometheus_client import Gauge
from pydantic import BaseModel, ConfigDict, Field

from jettythunder import telemetry
from jettythunder.broker.event_log import LoggedEvent, Offset
from operations.events.find import Log

log = telemetry.logger(__name__)

_SAMPLE_SIZE = 200
_WINDOW = timedelta(hours=1)
# What the log stores beside a body, properties and headers: an assumption, rather too much than too little.
_OVERHEAD_BYTES = 300

_hours = Gauge("jettythunder_event_log_hours", "Hours of events that the log keeps at the present rate")
_held_hours = Gauge("jettythunder_event_log_held_hours", "Hours since the log's oldest event")
_short = Gauge(
    "jettythunder_event_log_short",
    "1 while the log keeps fewer hours at the present rate than EVENT_LOG_WARN_HOURS",
)


class Limits(Protocol):
    """What bounds the log."""

    @property
    def event_log_max_bytes(self) -> int: ...

    @property
    def event_log_max_hours(self) -> float | None: ...

    @property
    def event_log_warn_hours(self) -> float: ...


class LogRetention(BaseModel):
    """How far back the log reaches, and how far it would at the present rate."""

    model_config = ConfigDict(frozen=True)

    events_per_hour: float = Field(description="Of the last hour")
    bytes_per_event: float = Field(description="Of some of the last hour's events")
    kept_hours: float | None = Field(
        description="Hours that the log keeps at this rate; null where nothing bounds it"
    )
    bounded_by: str | None = Field(description="`age` or `bytes`: what makes the oldest events go")
    held_hours: float = Field(description="Hours since the oldest event that it holds")
    warn_hours: float
    is_short: bool = Field(description="Whether it keeps fewer hours than EVENT_LOG_WARN_HOURS")


class Retention:
    """Measures the log's retention. It reads its oldest event and some of the last hour, not the log."""

    def __init__(
        self, log: Log, limits: Limits, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._log = log
        self._limits = limits
        self._clock = clock

    async def measure(self) -> LogRetention:
        """Measure it now.

        Raises:
            BrokerUnavailable: the log can't be read.
        """
        now = self._clock()
        end = await self._log.end()
        oldest = await self._sample("first", end, count=1)
        recent = await self._sample(now - _WINDOW, end, count=_SAMPLE_SIZE)
        held = max(_age(oldest, now), timedelta())
        count = end - recent[0].offset if recent else 0
        events_per_hour = count / (min(max(held, timedelta(minutes=1)), _WINDOW) / _WINDOW)
        size = sum(len(each.body) + _OVERHEAD_BYTES for each in recent) / max(len(recent), 1)
        return retention(
            self._limits, events_per_hour=events_per_hour, bytes_per_event=size, held_hours=held / _WINDOW
        )

    async def watch(self) -> None:
        """Measure it for the metrics, and warn in the log where it is short."""
        found = await self.measure()
        _hours.set(float("inf") if found.kept_hours is None else found.kept_hours)
        _held_hours.set(found.held_hours)
        _short.set(found.is_short)
        if found.is_short:
            log.warning(
                "the event log keeps few hours at the present rate: raise its bounds",
                kept_hours=found.kept_hours,
                bounded_by=found.bounded_by,
            )

    async def _sample(self, start: Offset, end: int, *, count: int) -> list[LoggedEvent]:
        found: list[LoggedEvent] = []
        async with contextlib.aclosing(self._log.read(start=start, end_offset=end)) as events:
            async for logged in events:
                found.append(logged)
                if len(found) == count:
                    break
        return found


def retention(
    limits: Limits, *, events_per_hour: float, bytes_per_event: float, held_hours: float
) -> LogRetention:
    """How many hours the log keeps at a rate, and which of its bounds says so."""
    bytes_per_hour = events_per_hour * bytes_per_event
    by_bytes = limits.event_log_max_bytes / bytes_per_hour if bytes_per_hour else None
    bounds = {"age": limits.event_log_max_hours, "bytes": by_bytes}
    kept = {name: hours for name, hours in bounds.items() if hours is not None}
    bounded_by = min(kept, key=lambda name: kept[name]) if kept else None
    kept_hours = kept[bounded_by] if bounded_by is not None else None
    return LogRetention(
        events_per_hour=events_per_hour,
        bytes_per_event=bytes_per_event,
        kept_hours=kept_hours,
        bounded_by=bounded_by,
        held_hours=held_hours,
        warn_hours=limits.event_log_warn_hours,
        is_short=kept_hours is not None and kept_hours < limits.event_log_warn_hours,
    )


def _age(oldest: list[LoggedEvent], now: datetime) -> timedelta:
    event = oldest[0].event if oldest else None
    return now - event.time if event is not None else timedelta()
