"""Where in the event log reading begins for what is wanted."""

from datetime import timedelta
from uuid import uuid4

import pytest

from jettythunder.broker.event_log import EventFilter, Offset, place_before
from jettythunder.ids import new_id, time_of

ACCOUNT = str(new_id())
MADE_AT = time_of(ACCOUNT)
assert MADE_AT is not None
BEFORE, AFTER = MADE_AT - timedelta(days=1), MADE_AT + timedelta(days=1)


@pytest.mark.parametrize(
    ("wanted", "begin"),
    [
        (EventFilter(), "first"),
        (EventFilter(account=str(uuid4())), "first"),
        (EventFilter(account="no id"), "first"),
        (EventFilter(account=ACCOUNT), place_before(MADE_AT)),
        (EventFilter(account=ACCOUNT, since=AFTER), place_before(AFTER)),
        (EventFilter(account=ACCOUNT, since=BEFORE), place_before(MADE_AT)),
        (EventFilter(since=BEFORE), place_before(BEFORE)),
    ],
)
def test_reading_begins_at_a_time_that_is_given_or_that_the_account_s_id_says(
    wanted: EventFilter, begin: Offset
) -> None:
    assert wanted.begin == begin


def test_clocks_may_differ_by_an_hour() -> None:
    assert EventFilter(since=AFTER).begin == AFTER - timedelta(hours=1)
