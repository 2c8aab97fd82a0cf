"""What bucket, assets, ledger and counters disagree on."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from usage_meter.findings import Findings, LedgerDrift, Missing, Orphan, compare, compare_ownerless
from usage_meter.repository import Account

ACCOUNT = Account(UUID("6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10"), "test-123", "accounts/a/")
ASSET_ID = uuid4()
COUNTS = ("bytes", "reserved_bytes", "bandwidth_bytes", "bandwidth_reserved_bytes", "request_count")


def look(
    listing: dict[str, int], known: list[dict[str, Any]], *, ledger: int = 0, **sources: int
) -> Findings:
    figures = {f"{source}_{count}": 0 for source in ("counter", "ledger") for count in COUNTS}
    figures |= {"held_bytes": 0, "held_bandwidth_bytes": 0, "adjusted_bytes": 0}
    figures |= {"ledger_bytes": ledger, "counter_bytes": ledger, **sources}
    return compare(ACCOUNT, listing=listing, known=known, ledger_drift=[], sources=figures)


def asset(size_bytes: int, key: str = "accounts/a/1") -> dict[str, Any]:
    return {"s3_key": key, "kind": "asset", "asset_id": ASSET_ID, "size_bytes": size_bytes}


def test_what_is_equal_everywhere_is_clean() -> None:
    findings = look({"accounts/a/1": 10}, [asset(10)], ledger=10)
    assert (findings.is_clean, findings.drift_bytes) == (True, 0)


def test_the_folder_is_no_orphan() -> None:
    assert look({"accounts/a/": 0}, []).is_clean


@pytest.mark.parametrize("kind", ["upload", "deletion"])
def test_what_is_on_its_way_in_or_out_is_no_orphan(kind: str) -> None:
    known = {"s3_key": "accounts/a/1", "kind": kind, "asset_id": None, "size_bytes": 0}
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


def test_only_what_two_looks_see_is_left() -> None:
    steady, passing = LedgerDrift(uuid4(), 1, 2), LedgerDrift(uuid4(), 0, 5)
    first = look({"accounts/a/1": 1, "accounts/a/2": 2}, [])
    second = look({"accounts/a/2": 2, "accounts/a/3": 3}, [])
    first, second = _with(first, steady, passing), _with(second, steady)
    both = first.seen_again(second)
    assert both.orphans == (Orphan("accounts/a/2", 2),)
    assert both.ledger_drift == (steady,)


def test_all_that_lies_in_a_gone_account_s_folder_is_an_orphan() -> None:
    deleting = {"s3_key": "accounts/a/2", "kind": "deletion", "asset_id": None, "size_bytes": 0}
    listing = {"accounts/a/": 0, "accounts/a/1": 10, "accounts/a/2": 20}
    findings = compare_ownerless(ACCOUNT.id, listing=listing, known=[deleting], ledger_bytes=30)
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
