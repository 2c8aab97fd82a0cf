"""Our own ids are UUIDv7: they sort by when they were made."""

from datetime import UTC, datetime

from jettythunder.ids import new_id
from operations.events.model import time_of


def test_ids_sort_by_the_time_they_were_made() -> None:
    before = datetime.now(UTC).timestamp()
    made = [new_id() for _ in range(1000)]
    made_at = time_of(str(made[0]))
    assert made_at is not None
    assert abs(made_at.timestamp() - before) < 60
    assert {(each.version, each.variant) for each in made} == {(7, "specified in RFC 4122")}
    assert len(set(made)) == 1000
    assert sorted(made, key=lambda each: each.int >> 64) == made
