"""How far quotas are used, and what of it is announced."""

from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usage_meter.ledger.model import Resource
from usage_meter.ledger.thresholds import Gauge, announcements, lowest_percent, read_gauge

ACCOUNT_ID = UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10")
THRESHOLDS = (80, 95, 100)


def gauge(used: int, quota: int = 100, *, level: int = 0, exceeded: bool = False) -> Gauge:
    return Gauge(
        account_id=ACCOUNT_ID,
        resource=Resource.STORAGE,
        used_bytes=used,
        quota_bytes=quota,
        level_percent=level,
        exceeded=exceeded,
    )


@pytest.mark.parametrize(
    ("used", "crossed"), [(79, []), (80, [80]), (94, [80]), (95, [80, 95]), (100, [80, 95, 100])]
)
def test_a_threshold_is_crossed_when_use_reaches_it(used: int, crossed: list[int]) -> None:
    assert read_gauge(gauge(used), THRESHOLDS).crossed_percents == crossed


def test_a_threshold_that_was_said_is_not_said_again() -> None:
    assert read_gauge(gauge(96, level=80), THRESHOLDS).crossed_percents == [95]


def test_falling_lowers_the_level_so_that_it_can_be_crossed_anew() -> None:
    reading = read_gauge(gauge(10, level=95), THRESHOLDS)
    assert (reading.level_percent, reading.crossed_percents, reading.changed) == (0, [], True)


@pytest.mark.parametrize(("used", "exceeded"), [(99, False), (100, True), (101, True)])
def test_a_quota_is_exceeded_when_all_of_it_is_used(used: int, exceeded: bool) -> None:
    assert read_gauge(gauge(used), THRESHOLDS).exceeded is exceeded


@pytest.mark.parametrize(("used", "exceeded"), [(0, False), (1, True)])
def test_without_a_quota_the_first_byte_exceeds_it(used: int, exceeded: bool) -> None:
    assert read_gauge(gauge(used, quota=0), THRESHOLDS).exceeded is exceeded


@given(st.integers(-10, 10**15), st.integers(0, 10**15), st.sampled_from([0, 80, 95, 100]), st.booleans())
def test_saying_it_once_is_enough(used: int, quota: int, level: int, exceeded: bool) -> None:
    reading = read_gauge(gauge(used, quota, level=level, exceeded=exceeded), THRESHOLDS)
    told = replace(reading.gauge, level_percent=reading.level_percent, exceeded=reading.exceeded)
    assert not read_gauge(told, THRESHOLDS).changed


@given(
    st.integers(-10, 200),
    st.integers(0, 200),
    st.lists(st.integers(1, 150)).map(sorted),
)
def test_below_the_lowest_percent_there_is_nothing_to_say(
    used: int, quota: int, thresholds: list[int]
) -> None:
    reading = read_gauge(gauge(used, quota), thresholds)
    assert not reading.changed or used >= quota // 100 * lowest_percent(thresholds)


def announced(used: int, *, level: int = 0, exceeded: bool = False) -> list[str]:
    reading = read_gauge(gauge(used, level=level, exceeded=exceeded), THRESHOLDS)
    return [payload.TYPE.split(".")[2] for payload in announcements(reading)]


def test_reaching_a_quota_announces_each_threshold_and_the_end() -> None:
    assert announced(100, level=80) == ["threshold_crossed", "threshold_crossed", "exceeded"]


def test_room_again_is_announced() -> None:
    assert announced(10, level=100, exceeded=True) == ["restored"]


def test_one_free_byte_is_room() -> None:
    assert announced(99, level=95) == []
