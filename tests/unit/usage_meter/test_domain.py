"""What facts do to the ledger, and what is worth saying about a gauge."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from usage_meter.domain import (
    Adjustment,
    Entry,
    Fact,
    FactKind,
    Gauge,
    HoldKey,
    Kind,
    Resource,
    Totals,
    entries_for,
    read_gauge,
    totals,
)

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
MONTH_START = datetime(2026, 3, 1, tzinfo=UTC)
ACCOUNT_ID = UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10")
THRESHOLDS = (80, 95, 100)


def fact(kind: FactKind = FactKind.SETTLED, **figures: object) -> Fact:
    made = Fact(event_id=uuid4(), account_id=ACCOUNT_ID, occurred_at=NOW, kind=kind)
    return replace(made, **figures)  # type: ignore[arg-type]


def only_entry(*facts: Fact, held: dict[HoldKey, int] | None = None) -> Entry:
    (entry,) = entries_for(facts, held or {}, now=NOW)
    return entry


def test_a_settled_hold_becomes_use() -> None:
    upload_id = uuid4()
    held = {HoldKey(upload_id, Resource.STORAGE, ACCOUNT_ID): 1_000}
    entry = only_entry(fact(used_bytes=700, reservation_id=upload_id), held=held)
    assert (entry.kind, entry.used_delta_bytes, entry.reserved_delta_bytes) == (Kind.SETTLED, 700, -1_000)


def test_a_hold_ends_once() -> None:
    upload_id = uuid4()
    held = {HoldKey(upload_id, Resource.STORAGE, ACCOUNT_ID): 1_000}
    release = fact(FactKind.RELEASED, reservation_id=upload_id)
    settle = fact(used_bytes=700, reservation_id=upload_id)
    first, second = entries_for([release, settle], held, now=NOW)
    assert (first.reserved_delta_bytes, second.reserved_delta_bytes) == (-1_000, 0)
    assert second.used_delta_bytes == 700


def test_a_removal_takes_use_away() -> None:
    assert only_entry(fact(FactKind.REMOVED, used_bytes=700)).used_delta_bytes == -700


def test_what_changes_nothing_makes_no_entry() -> None:
    facts = [fact(FactKind.RELEASED, reservation_id=uuid4()), fact(FactKind.QUOTA_CHANGED)]
    assert list(entries_for(facts, {}, now=NOW)) == []


def test_a_request_that_moves_no_byte_is_an_entry() -> None:
    assert only_entry(fact(request_count=1)).request_count == 1


def test_a_fact_from_the_future_is_booked_as_of_now() -> None:
    entry = only_entry(fact(used_bytes=1, occurred_at=NOW + timedelta(days=1)))
    assert entry.occurred_at == NOW


def test_an_adjustment_may_correct_the_past() -> None:
    past = NOW - timedelta(days=40)
    adjustment = Adjustment(
        id=uuid4(),
        account_id=ACCOUNT_ID,
        resource=Resource.BANDWIDTH,
        used_delta_bytes=-5,
        reason="a test",
        author="a test",
        occurred_at=past,
    )
    assert adjustment.entry(now=NOW).occurred_at == past


def test_bytes_sent_before_the_period_are_not_the_period_s() -> None:
    entries = entries_for(
        [
            fact(resource=Resource.BANDWIDTH, used_bytes=10, request_count=1, occurred_at=MONTH_START),
            fact(
                resource=Resource.BANDWIDTH,
                used_bytes=90,
                request_count=1,
                occurred_at=MONTH_START - timedelta(microseconds=1),
            ),
        ],
        {},
        now=NOW,
    )
    assert totals(entries, {ACCOUNT_ID: MONTH_START}) == {
        ACCOUNT_ID: Totals(bandwidth_used_bytes=10, request_count=1)
    }


def test_stored_bytes_count_whenever_they_came() -> None:
    entries = entries_for([fact(used_bytes=10, occurred_at=MONTH_START - timedelta(days=9))], {}, now=NOW)
    assert totals(entries, {ACCOUNT_ID: MONTH_START})[ACCOUNT_ID].storage_used_bytes == 10


def test_accounts_come_in_the_order_of_their_ids() -> None:
    accounts = [uuid4() for _ in range(20)]
    entries = entries_for([fact(account_id=account, used_bytes=1) for account in accounts], {}, now=NOW)
    assert list(totals(entries, dict.fromkeys(accounts, MONTH_START))) == sorted(accounts)


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
