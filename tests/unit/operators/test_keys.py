"""`jettythunder keys`: what it asks of provisioning, and what it prints."""

from __future__ import annotations

import json
from typing import Any

from tests.support.commands import output_of
from tests.unit.operators.conftest import Service

SINCE = "2026-01-31T00:00:00Z"
PAGE = 100


def key(key_id: str, accounts: int, **changed: Any) -> dict[str, Any]:
    """A key as provisioning answers it."""
    return {
        "id": key_id,
        "accounts": accounts,
        "in_grace": 0,
        "known_since": SINCE,
        "is_newest": False,
        "is_in_ring": True,
        **changed,
    }


async def keys(service: Service, *arguments: str) -> tuple[int, str, str]:
    environment = {"JETTYTHUNDER_PROVISIONING_URL": service.url, "JETTYTHUNDER_OPS_TOKEN": "secret"}
    return await output_of(environment, "keys", *arguments)


def asked_for(service: Service) -> list[dict[str, int]]:
    """The pages that were to be rotated."""
    return [body for call, _, body in service.asked if call == "POST /keys/rotate"]


async def test_the_list_says_where_each_key_stands(service: Service) -> None:
    ring = [
        key("1", 0, is_in_ring=False, known_since=None),
        key("2", 1234, in_grace=5),
        key("3", 7, is_newest=True),
    ]
    service.answer("GET /keys", ring)
    code, printed, _ = await keys(service, "list")
    rows = [line.split()[:4] for line in printed.splitlines()]
    assert code == 0
    assert rows[-3:] == [["1", "retired", "0", "0"], ["2", "older", "1,234", "5"], ["3", "newest", "7", "0"]]


async def test_accounts_are_rotated_in_pages_up_to_the_limit(service: Service) -> None:
    service.answer("GET /keys", [key("1", 500), key("2", 0, is_newest=True)])
    service.answer("POST /keys/rotate", {"moved": PAGE, "is_last": False})
    limit = ("--limit", str(2 * PAGE))
    code, printed, _ = await keys(service, "rotate", "--yes", "--json", *limit, "--grace-seconds", "60")
    assert (code, json.loads(printed)["moved"]) == (0, 2 * PAGE)
    assert asked_for(service) == [{"limit": PAGE, "grace_seconds": 60}] * 2


async def test_a_rotation_ends_where_nothing_is_left_to_move(service: Service) -> None:
    service.answer("GET /keys", [key("1", 9), key("2", 0, is_newest=True)])
    service.answer("POST /keys/rotate", {"moved": 0, "is_last": True})
    code, printed, _ = await keys(service, "rotate", "--yes")
    assert (code, "0 accounts moved to the master key 2." in printed) == (0, True)
    assert len(asked_for(service)) == 1


async def test_a_dry_run_counts_what_would_be_moved(service: Service) -> None:
    service.answer("GET /keys", [key("1", 9, in_grace=4), key("2", 50, is_newest=True)])
    for grace, movable in (("60", 5), ("0", 9)):
        code, printed, _ = await keys(service, "rotate", "--dry-run", "--json", "--grace-seconds", grace)
        assert (code, json.loads(printed)) == (
            0,
            {"newest": "2", "dry_run": True, "movable": movable, "moved": 0, "left": 9, "left_in_grace": 4},
        )
    assert asked_for(service) == []


async def test_programs_must_say_that_it_is_meant(service: Service) -> None:
    service.answer("GET /keys", [key("1", 9), key("2", 0, is_newest=True)])
    code, printed, _ = await keys(service, "rotate", "--json")
    assert (code, "add --yes" in printed, asked_for(service)) == (2, True, [])
