"""Conditional requests (RFC 9110, section 13), in the order of 13.2.2."""

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from storage_gateway.assets.conditions import Conditions
from storage_gateway.errors import PreconditionFailed

MODIFIED_AT = datetime(2026, 5, 1, 12, 0, 0, 900_000, tzinfo=UTC)
BEFORE = "Fri, 01 May 2026 11:59:59 GMT"
THEN = "Fri, 01 May 2026 12:00:00 GMT"
AFTER = "Fri, 01 May 2026 12:00:01 GMT"
RFC_850 = "Friday, 01-May-26 12:00:00 GMT"
ASCTIME = "Fri May  1 12:00:00 2026"


def conditions(**headers: str) -> Conditions:
    raw = {name.replace("_", "-"): value for name, value in headers.items()}
    return Conditions(Headers(raw), etags=["tag", "earlier"], modified_at=MODIFIED_AT)


def outcome(**headers: str) -> int:
    """The status of an answer without a Range."""
    try:
        return 304 if conditions(**headers).are_met_already() else 200
    except PreconditionFailed as error:
        return error.status


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ('"tag"', 200),
        ('"other", "tag"', 200),
        ('"earlier"', 200),
        ("*", 200),
        ('"other"', 412),
        # If-Match compares strongly: a weak tag matches nothing.
        ('W/"tag"', 412),
        ("", 412),
    ],
)
def test_if_match(value: str, status: int) -> None:
    assert outcome(if_match=value) == status


@pytest.mark.parametrize(
    ("value", "status"),
    [(BEFORE, 412), (THEN, 200), (AFTER, 200), (RFC_850, 200), (ASCTIME, 200), ("nonsense", 200), ("", 200)],
)
def test_if_unmodified_since(value: str, status: int) -> None:
    assert outcome(if_unmodified_since=value) == status


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ('"tag"', 304),
        ('"earlier"', 304),
        ('W/"tag"', 304),
        ('"other", W/"tag"', 304),
        ("*", 304),
        ('"other"', 200),
        ("", 200),
    ],
)
def test_if_none_match(value: str, status: int) -> None:
    assert outcome(if_none_match=value) == status


@pytest.mark.parametrize(
    ("value", "status"),
    [(BEFORE, 200), (THEN, 304), (AFTER, 304), (RFC_850, 304), (ASCTIME, 304), ("nonsense", 200), ("", 200)],
)
def test_if_modified_since(value: str, status: int) -> None:
    assert outcome(if_modified_since=value) == status


@pytest.mark.parametrize(
    ("value", "applies"),
    [
        ('"tag"', True),
        ('"earlier"', True),
        ('"other"', False),
        ('W/"tag"', False),
        (THEN, True),
        (BEFORE, False),
        (AFTER, False),
        ("", False),
    ],
)
def test_if_range(value: str, applies: bool) -> None:
    assert conditions(if_range=value).let_range_apply() is applies


def test_without_if_range_a_range_applies() -> None:
    assert conditions().let_range_apply()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # If-Match comes first, and If-Unmodified-Since counts only without it.
        ({"if_match": '"tag"', "if_unmodified_since": BEFORE}, 200),
        ({"if_match": '"other"', "if_unmodified_since": AFTER}, 412),
        # A failed precondition wins over what the client has already.
        ({"if_match": '"other"', "if_none_match": '"tag"'}, 412),
        ({"if_unmodified_since": BEFORE, "if_none_match": '"tag"'}, 412),
        ({"if_unmodified_since": BEFORE, "if_modified_since": AFTER}, 412),
        # After a fulfilled one the others are evaluated.
        ({"if_match": '"tag"', "if_none_match": '"tag"'}, 304),
        ({"if_unmodified_since": AFTER, "if_modified_since": AFTER}, 304),
        # If-Modified-Since counts only without If-None-Match.
        ({"if_none_match": '"other"', "if_modified_since": AFTER}, 200),
        ({"if_none_match": '"tag"', "if_modified_since": BEFORE}, 304),
        ({"if_none_match": "", "if_modified_since": AFTER}, 200),
        ({}, 200),
    ],
)
def test_the_order_of_evaluation(headers: dict[str, str], status: int) -> None:
    assert outcome(**headers) == status


words = [
    "Fri,",
    "01",
    "May",
    "2026",
    "12:00:00",
    "GMT",
    "+9999",
    "-0000",
    "9" * 11,
    '"tag"',
    "W/",
    "*",
    "\xe9",
]
values = st.text(st.characters(max_codepoint=255)) | st.lists(st.sampled_from(words)).map(" ".join)


@given(value=values)
@example(value="99999999999 May 10:00 01")
def test_any_header_has_an_outcome(value: str) -> None:
    for name in ("if_match", "if_unmodified_since", "if_none_match", "if_modified_since"):
        assert outcome(**{name: value}) in (200, 304, 412)
    assert conditions(if_range=value).let_range_apply() in (True, False)
