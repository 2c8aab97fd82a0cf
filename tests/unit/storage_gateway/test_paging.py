"""Cursors: pages follow one another, and whatever else is given as a cursor is an invalid field."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jettythunder.errors import InvalidField
from storage_gateway import paging


@dataclass(frozen=True)
class Item:
    id: UUID
    created_at: datetime


ID = "6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10"
MOMENT = "2026-05-01T12:00:00+00:00"


def encoded(place: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode().rstrip("=")


items = st.builds(Item, id=st.uuids(), created_at=st.datetimes(timezones=st.just(UTC)))


@given(st.lists(items, max_size=10), st.integers(1, 10))
def test_a_cursor_marks_the_last_item_of_a_page_that_others_follow(found: list[Item], limit: int) -> None:
    page, cursor = paging.cut(found, limit)
    assert page == found[:limit]
    if len(found) <= limit:
        assert cursor is None
    else:
        assert paging.read_cursor(cursor) == (page[-1].created_at, page[-1].id)


def test_without_a_cursor_pages_begin_at_the_start() -> None:
    assert paging.read_cursor(None) == (None, None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([ID, MOMENT]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@given(
    st.text()
    | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    | json_values.map(encoded)
    | st.tuples(json_values, json_values).map(encoded)
)
@example("")
@example("\ud800")
@example("[" * 100_000)
@example(base64.urlsafe_b64encode(b"[" * 100_000).decode())
@example(base64.urlsafe_b64encode(b"9" * 5000).decode())
@example(encoded([MOMENT, 5]))
@example(encoded([5, ID]))
@example(encoded({MOMENT: 1, ID: 2}))
def test_a_hostile_cursor_is_an_invalid_field_or_a_place(given_cursor: str) -> None:
    try:
        created_at, row_id = paging.read_cursor(given_cursor)
    except InvalidField as error:
        assert error.extra == {"field": "cursor"}
        return
    assert isinstance(created_at, datetime)
    assert created_at.tzinfo is not None
    assert isinstance(row_id, UUID)


@pytest.mark.parametrize(
    "place",
    [[MOMENT.removesuffix("+00:00"), ID], [MOMENT], [MOMENT, ID, ID], [MOMENT, "7"], ["now", ID], {}, 7],
)
def test_what_is_no_place_is_refused(place: object) -> None:
    with pytest.raises(InvalidField):
        paging.read_cursor(encoded(place))
