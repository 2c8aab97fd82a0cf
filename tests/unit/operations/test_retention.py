"""How long the event log keeps events, told from its bounds and the present rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from tests.unit.operations.fakes import NOW, FakeLog, logged

from jettythunder.broker.event_log import LoggedEvent
from operations.events.retention import Retention, retention


@dataclass(frozen=True)
class Limits:
    event_log_max_bytes: int = 20_000_000_000
    event_log_max_hours: float | None = 720
    event_log_warn_hours: float = 72


@pytest.mark.parametrize(
    ("events_per_hour", "kept_hours", "bounded_by", "is_short"),
    [(0, 720, "age", False), (1_000, 720, "age", False), (3_600_000, 20e9 / 3.6e9, "bytes", True)],
)
def test_the_bound_that_is_reached_first_says_how_long(
    events_per_hour: float, kept_hours: float, bounded_by: str, is_short: bool
) -> None:
    found = retention(Limits(), events_per_hour=events_per_hour, bytes_per_event=1_000, held_hours=1)
    assert (found.kept_hours, found.bounded_by, found.is_short) == (kept_hours, bounded_by, is_short)


def test_without_a_known_age_and_without_events_nothing_bounds_it() -> None:
    found = retention(Limits(event_log_max_hours=None), events_per_hour=0, bytes_per_event=0, held_hours=0)
    assert (found.kept_hours, found.bounded_by, found.is_short) == (None, None, False)


def at(offset: int, moment: datetime) -> LoggedEvent:
    found = logged(offset)
    assert found.event is not None
    return replace(found, body=found.event.model_copy(update={"time": moment}).encode())


async def test_the_rate_is_that_of_the_last_hour() -> None:
    old = [at(n, NOW - timedelta(hours=30)) for n in range(50)]
    recent = [at(50 + n, NOW - timedelta(minutes=30)) for n in range(600)]
    log = FakeLog(events=[*old, *recent])
    found = await Retention(log, Limits(), clock=lambda: NOW).measure()
    assert found.events_per_hour == 600
    assert found.held_hours == 30
    # Neither reading goes through the log.
    assert log.starts == ["first", NOW - timedelta(hours=1)]


async def test_the_rate_of_a_log_that_is_younger_than_an_hour_is_that_of_its_life() -> None:
    log = FakeLog(events=[at(n, NOW - timedelta(minutes=15)) for n in range(100)])
    assert (await Retention(log, Limits(), clock=lambda: NOW).measure()).events_per_hour == 400


async def test_an_empty_log_is_measured() -> None:
    found = await Retention(FakeLog(), Limits(), clock=lambda: NOW).measure()
    assert (found.events_per_hour, found.held_hours, found.bounded_by) == (0, 0, "age")
