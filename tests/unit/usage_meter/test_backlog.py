"""Until when events are booked, which decides over expired reservations."""

from datetime import UTC, datetime, timedelta

from usage_meter.ledger.backlog import booked_until

NOW = datetime(2026, 3, 15, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def until(
    *,
    waiting: int | None = 0,
    newest_booked_at: datetime | None = NOW - HOUR,
    oldest_unpublished_at: datetime | None = None,
) -> datetime:
    return booked_until(
        now=NOW,
        oldest_unpublished_at=oldest_unpublished_at,
        waiting=waiting,
        newest_booked_at=newest_booked_at,
    )


def test_where_nothing_waits_all_is_booked() -> None:
    assert until() == NOW


def test_beside_a_backlog_only_what_is_older_than_the_last_batch_is_booked() -> None:
    reached = until(waiting=1, newest_booked_at=NOW - 7 * HOUR)
    assert NOW - 8 * HOUR < reached < NOW - 7 * HOUR


def test_beside_a_backlog_nothing_is_known_before_the_first_batch() -> None:
    assert until(waiting=1, newest_booked_at=None) < NOW - timedelta(days=10_000)


def test_a_broker_that_does_not_answer_may_hold_events() -> None:
    assert until(waiting=None) < NOW - HOUR


def test_a_clock_that_is_ahead_books_nothing_in_advance() -> None:
    assert until(waiting=1, newest_booked_at=NOW + HOUR) < NOW


def test_what_is_not_published_yet_is_not_booked() -> None:
    assert until(oldest_unpublished_at=NOW - 2 * HOUR) == NOW - 2 * HOUR
