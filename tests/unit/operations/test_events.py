"""Finding events, and the tree of what caused what."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from tests.unit.operations.fakes import NOW, FakeInboxes, FakeLog, logged, uuid7

from jettythunder.broker.event_log import EventFilter, place_before
from operations.errors import EventNotFound
from operations.events import Events
from operations.events.model import build_trace

ANY = EventFilter()


def events_of(log: FakeLog) -> Events:
    return Events(log, FakeInboxes())


async def test_a_page_ends_at_its_limit_and_says_where_to_go_on() -> None:
    events = events_of(FakeLog([logged(offset) for offset in range(5)]))
    page = await events.page(ANY, start=None, limit=3, wait_seconds=0)
    assert ([each.offset for each in page.events], page.next_offset) == ([0, 1, 2], 3)
    page = await events.page(ANY, start=page.next_offset, limit=3, wait_seconds=0)
    assert ([each.offset for each in page.events], page.next_offset) == ([3, 4], 5)


async def test_where_the_log_has_none_the_first_to_come_is_waited_for() -> None:
    other, wanted = logged(5), logged(6, correlation="mine")
    events = events_of(FakeLog([], to_come=[other, wanted]))
    page = await events.page(EventFilter(correlation_id="mine"), start="next", limit=3, wait_seconds=5)
    assert ([each.offset for each in page.events], page.next_offset) == ([6], 7)


async def test_a_message_that_is_no_event_is_shown_with_its_body() -> None:
    page = await events_of(FakeLog([logged(0, decodable=False)])).page(
        ANY, start=None, limit=1, wait_seconds=0
    )
    [shown] = page.model_dump(mode="json")["events"]
    assert (shown["event"], shown["body"]) == (None, "{}")


async def test_the_log_is_read_from_the_time_in_an_id() -> None:
    event_id = uuid7(NOW)
    log = FakeLog([logged(0, event_id=event_id)])
    shown = await events_of(log).show(event_id)
    assert (shown.offset, log.starts) == (0, [place_before(NOW)])


async def test_an_id_whose_time_misleads_is_looked_for_in_the_whole_log() -> None:
    event_id = uuid7(NOW + timedelta(hours=10))
    log = FakeLog([logged(0, event_id=event_id)])
    assert (await events_of(log).show(event_id)).offset == 0
    assert log.starts[-1] == "first"


async def test_a_given_time_is_where_reading_begins_and_nothing_else_is_read() -> None:
    event_id = uuid4()
    log = FakeLog([logged(0, event_id=event_id, correlation="mine")])
    events = events_of(log)
    since = NOW + timedelta(days=1)
    with pytest.raises(EventNotFound):
        await events.show(event_id, since=since)
    with pytest.raises(EventNotFound, match="'mine'"):
        await events.trace("mine", since=since)
    assert log.starts == [place_before(since)] * 2
    assert (await events.trace("mine"))[0].id == str(event_id)


def test_events_hang_under_what_caused_them() -> None:
    root, child, command = uuid4(), uuid4(), uuid4()
    trace = build_trace(
        [logged(0, event_id=root), logged(1, event_id=child, cause=root), logged(2, cause=command)]
    )
    assert {node.id: [below.offset for below in node.children] for node in trace} == {
        str(root): [1],
        str(command): [2],
    }


def test_events_that_name_each_other_as_their_cause_are_all_shown() -> None:
    first, second, itself = uuid4(), uuid4(), uuid4()
    trace = build_trace(
        [
            logged(0, event_id=first, cause=second),
            logged(1, event_id=second, cause=first),
            logged(2, event_id=itself, cause=itself),
        ]
    )
    assert {node.id for node in trace} == {str(first), str(second), str(itself)}
