"""What facts and adjustments do to the ledger."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from usage_meter.ledger.model import (
    Adjustment,
    Entry,
    Fact,
    FactKind,
    Hold,
    Kind,
    Reconciled,
    Resource,
    Totals,
    entries_for,
    first_of_each,
    reversals,
    totals,
)

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
MONTH_START = datetime(2026, 3, 1, tzinfo=UTC)
ACCOUNT_ID = UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10")


def fact(kind: FactKind = FactKind.SETTLED, **figures: object) -> Fact:
    made = Fact(event_id=uuid4(), account_id=ACCOUNT_ID, occurred_at=NOW, kind=kind)
    return made._replace(**figures)  # type: ignore[arg-type]


def hold(upload_id: UUID, held_bytes: int = 1_000) -> Hold:
    return Hold(upload_id, Resource.STORAGE, ACCOUNT_ID, held_bytes)


def only_entry(*facts: Fact, holds: tuple[Hold, ...] = ()) -> Entry:
    (entry,) = entries_for(facts, holds, now=NOW)
    return entry


def test_a_settled_hold_becomes_use() -> None:
    upload_id = uuid4()
    entry = only_entry(fact(used_bytes=700, reservation_id=upload_id), holds=(hold(upload_id),))
    assert (entry.kind, entry.used_delta_bytes, entry.reserved_delta_bytes) == (Kind.SETTLED, 700, -1_000)


def test_a_hold_ends_once() -> None:
    upload_id = uuid4()
    release = fact(FactKind.RELEASED, reservation_id=upload_id)
    settle = fact(used_bytes=700, reservation_id=upload_id)
    first, second = entries_for([release, settle], [hold(upload_id)], now=NOW)
    assert (first.reserved_delta_bytes, second.reserved_delta_bytes) == (-1_000, 0)
    assert second.used_delta_bytes == 700


def test_a_removal_takes_use_away() -> None:
    assert only_entry(fact(FactKind.REMOVED, used_bytes=700)).used_delta_bytes == -700


def test_what_changes_nothing_makes_no_entry() -> None:
    facts = [fact(FactKind.RELEASED, reservation_id=uuid4()), fact(FactKind.QUOTA_CHANGED)]
    assert list(entries_for(facts, [], now=NOW)) == []


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
        [],
        now=NOW,
    )
    assert totals(entries, {ACCOUNT_ID: MONTH_START}) == {
        ACCOUNT_ID: Totals(bandwidth_used_bytes=10, request_count=1)
    }


def test_stored_bytes_count_whenever_they_came() -> None:
    entries = entries_for([fact(used_bytes=10, occurred_at=MONTH_START - timedelta(days=9))], [], now=NOW)
    assert totals(entries, {ACCOUNT_ID: MONTH_START})[ACCOUNT_ID].storage_used_bytes == 10


def test_accounts_come_in_the_order_of_their_ids() -> None:
    accounts = [uuid4() for _ in range(20)]
    entries = entries_for([fact(account_id=account, used_bytes=1) for account in accounts], [], now=NOW)
    assert list(totals(entries, dict.fromkeys(accounts, MONTH_START))) == sorted(accounts)


def adjustment(**figures: object) -> Adjustment:
    made = Adjustment(
        id=uuid4(),
        account_id=ACCOUNT_ID,
        resource=Resource.STORAGE,
        used_delta_bytes=50,
        reason="a test",
        author="a test",
    )
    return replace(made, **figures)  # type: ignore[arg-type]


def test_an_adjustment_for_a_lost_upload_ends_its_hold() -> None:
    upload_id = uuid4()
    made = adjustment(reservation_id=upload_id)
    assert made.hold_key == hold(upload_id).key
    entry = made.entry(now=NOW, held_bytes=1_000)
    assert (entry.used_delta_bytes, entry.reserved_delta_bytes) == (50, -1_000)
    assert entry.reservation_id == upload_id


def test_an_adjustment_by_a_person_ends_no_hold() -> None:
    assert adjustment().hold_key is None


def test_a_batch_that_holds_an_event_twice_books_it_once() -> None:
    first, second = fact(used_bytes=1), fact(used_bytes=2)
    assert list(first_of_each([first, second, first], [first.event_id])) == [first]


@pytest.mark.parametrize(("kind", "booked"), [(FactKind.SETTLED, 50), (FactKind.REMOVED, -50)])
def test_an_event_that_comes_after_its_adjustment_takes_that_back(kind: FactKind, booked: int) -> None:
    asset_id = uuid4()
    yesterday = NOW - timedelta(days=1)
    late = fact(kind, used_bytes=50, asset_id=asset_id)
    (reversal,) = reversals([late], [Reconciled(asset_id, booked, yesterday)])
    assert (reversal.kind, reversal.used_delta_bytes) == (Kind.ADJUSTMENT, -booked)
    # It takes the bytes out of the hour that they were adjusted in.
    assert (reversal.occurred_at, reversal.asset_id) == (yesterday, asset_id)


def test_an_adjustment_is_taken_back_once() -> None:
    asset_id = uuid4()
    twice = [fact(used_bytes=50, asset_id=asset_id) for _ in range(2)]
    assert len(list(reversals(twice, [Reconciled(asset_id, 50, NOW)]))) == 1


@pytest.mark.parametrize(
    "other",
    [
        fact(FactKind.REMOVED, used_bytes=50),
        fact(used_bytes=49),
        fact(used_bytes=0),
        fact(used_bytes=50, resource=Resource.BANDWIDTH),
    ],
)
def test_what_an_adjustment_does_not_stand_for_leaves_it(other: Fact) -> None:
    asset_id = uuid4()
    facts = [other._replace(asset_id=asset_id)]
    assert list(reversals(facts, [Reconciled(asset_id, 50, NOW)])) == []
