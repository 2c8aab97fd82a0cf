"""What bucket, assets, ledger, counters and hours disagree on."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from usage_meter.accounts.model import Account
from usage_meter.reconciliation.model import (
    Findings,
    KnownAs,
    KnownObject,
    LedgerDrift,
    LostHold,
    Missing,
    Orphan,
    Sources,
    compare,
    compare_objects,
    compare_ownerless,
)

ACCOUNT = Account(UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10"), "test-123", "accounts/a/")
ASSET_ID = uuid4()
NOTHING = Sources(
    counter_bytes=0,
    counter_reserved_bytes=0,
    counter_bandwidth_bytes=0,
    counter_bandwidth_reserved_bytes=0,
    counter_request_count=0,
    ledger_bytes=0,
    ledger_reserved_bytes=0,
    ledger_bandwidth_bytes=0,
    ledger_bandwidth_reserved_bytes=0,
    ledger_request_count=0,
    adjusted_bytes=0,
    held_bytes=0,
    held_bandwidth_bytes=0,
    hours_bytes=0,
)


def look(
    listing: dict[str, int],
    known: Sequence[KnownObject],
    *,
    ledger: int = 0,
    lost_holds: Sequence[LostHold] = (),
    **sources: int | None,
) -> Findings:
    figures = {"ledger_bytes": ledger, "counter_bytes": ledger, "hours_bytes": ledger, **sources}
    return compare(
        ACCOUNT,
        objects=compare_objects(ACCOUNT.s3_prefix, listing=listing, known=known),
        ledger_drift=[],
        lost_holds=lost_holds,
        sources=replace(NOTHING, **figures),  # type: ignore[arg-type]
    )


def asset(size_bytes: int, key: str = "accounts/a/1") -> KnownObject:
    return KnownObject(key, KnownAs.ASSET, ASSET_ID, size_bytes)


def test_what_is_equal_everywhere_is_clean() -> None:
    findings = look({"accounts/a/1": 10}, [asset(10)], ledger=10)
    assert (findings.is_clean, findings.drift_bytes) == (True, 0)


def test_the_folder_is_no_orphan() -> None:
    assert look({"accounts/a/": 0}, []).is_clean


@pytest.mark.parametrize("kind", [KnownAs.UPLOAD, KnownAs.DELETION])
def test_what_is_on_its_way_in_or_out_is_no_orphan(kind: KnownAs) -> None:
    known = KnownObject("accounts/a/1", kind, None, 0)
    assert look({"accounts/a/1": 10}, [known]).is_clean


def test_an_object_nobody_knows_is_an_orphan() -> None:
    assert look({"accounts/a/1": 10}, []).orphans == (Orphan("accounts/a/1", 10),)


def test_an_empty_orphan_weighs_nothing_and_is_found_still() -> None:
    findings = look({"accounts/a/1": 0}, [])
    assert (findings.drift_bytes, findings.is_clean) == (0, False)


@pytest.mark.parametrize(("listing", "found"), [({}, None), ({"accounts/a/1": 9}, 9)])
def test_an_object_that_is_missing_or_of_another_size_is_found(
    listing: dict[str, int], found: int | None
) -> None:
    missing = look(listing, [asset(10)], ledger=10).missing
    assert missing == (Missing(ASSET_ID, "accounts/a/1", 10, found),)


def test_errors_in_both_directions_do_not_hide_each_other() -> None:
    assert look({"accounts/a/2": 10}, [asset(10)], ledger=10).drift_bytes == 20


def test_a_counter_beside_the_ledger_is_found() -> None:
    assert look({}, [], counter_bytes=3).counter_drift == {"counter_bytes - ledger_bytes": 3}


def test_a_reservation_beside_its_holds_is_found() -> None:
    findings = look({}, [], counter_reserved_bytes=3, ledger_reserved_bytes=3)
    assert findings.counter_drift == {"held_bytes - ledger_reserved_bytes": -3}


def test_a_last_hour_beside_the_ledger_is_found() -> None:
    findings = look({}, [], hours_bytes=-700)
    assert (findings.hours_drift_bytes, findings.drift_bytes, findings.is_clean) == (-700, 700, False)


def test_hours_that_wait_to_be_computed_are_not_compared() -> None:
    assert look({}, [], hours_bytes=None).is_clean


def test_a_hold_whose_event_is_lost_is_found() -> None:
    lost = LostHold(uuid4(), uuid4(), 50)
    findings = look(
        {}, [], lost_holds=[lost], counter_reserved_bytes=50, ledger_reserved_bytes=50, held_bytes=50
    )
    assert (findings.lost_holds, findings.drift_bytes, findings.is_clean) == ((lost,), 50, False)


def test_of_holds_and_hours_too_only_what_two_looks_see_is_left() -> None:
    steady, passing = LostHold(uuid4(), None, 1), LostHold(uuid4(), None, 2)
    first = look({}, [], lost_holds=[steady, passing], hours_bytes=5)
    both = first.seen_again(look({}, [], lost_holds=[steady], hours_bytes=6))
    assert (both.lost_holds, both.hours_drift_bytes) == ((steady,), 0)
    assert first.seen_again(first) == first


def test_only_what_two_looks_see_is_left() -> None:
    steady, passing = LedgerDrift(uuid4(), 1, 2), LedgerDrift(uuid4(), 0, 5)
    first = look({"accounts/a/1": 1, "accounts/a/2": 2}, [])
    second = look({"accounts/a/2": 2, "accounts/a/3": 3}, [])
    first, second = _with(first, steady, passing), _with(second, steady)
    both = first.seen_again(second)
    assert both.orphans == (Orphan("accounts/a/2", 2),)
    assert both.ledger_drift == (steady,)


def test_all_that_lies_in_a_gone_account_s_folder_is_an_orphan() -> None:
    deleting = KnownObject("accounts/a/2", KnownAs.DELETION, None, 0)
    listing = {"accounts/a/": 0, "accounts/a/1": 10, "accounts/a/2": 20}
    findings = compare_ownerless(
        ACCOUNT.id, objects=compare_objects("", listing=listing, known=[deleting]), ledger_bytes=30
    )
    assert findings.orphans == (Orphan("accounts/a/", 0), Orphan("accounts/a/1", 10))
    assert (findings.drift_bytes, findings.agentcache_user_id) == (10, None)


@pytest.mark.parametrize(
    ("mended", "left_alone", "needed"),
    [((), (), True), (("all",), (), False), (("some",), ("the rest",), True)],
)
def test_what_is_not_mended_whole_needs_a_person(
    mended: tuple[str, ...], left_alone: tuple[str, ...], needed: bool
) -> None:
    drifting = look({"accounts/a/1": 10}, [])
    assert replace(drifting, mended=mended, left_alone=left_alone).needs_a_person is needed


def test_what_is_clean_needs_nobody() -> None:
    assert not look({}, []).needs_a_person


def _with(findings: Findings, *drift: LedgerDrift) -> Findings:
    return Findings(**{**vars(findings), "ledger_drift": drift})
