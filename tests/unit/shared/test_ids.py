"""Our own ids are UUIDv7: they sort by when they were made."""

from datetime import UTC, datetime

import pytest

from jettythunder.ids import new_id, time_of


def test_ids_sort_by_the_time_they_were_made() -> None:
    before = datetime.now(UTC).timestamp()
    made = [new_id() for _ in range(1000)]
    made_at = time_of(str(made[0]))
    assert made_at is not None
    assert abs(made_at.timestamp() - before) < 60
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}
    assert len(set(made)) == 1000
    assert sorted(made, key=lambda each: each.int >> 64) == made


@pytest.mark.parametrize("event_id", ["74925cc9-5bb6-4f76-bbaf-98eb9732a04e", "no id", "", "f" * 32])
def test_other_ids_have_no_time(event_id: str) -> None:
    assert time_of(event_id) is None
