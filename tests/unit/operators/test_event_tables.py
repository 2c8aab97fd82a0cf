"""Dead letters and replays on a terminal of 80 columns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tests.support.printed import printed

from jettythunder.broker.event_log import EventFilter
from jettythunder_operators.dead_letters import example_table, group_table
from jettythunder_operators.events import replay_table
from operations.dead_letters import DeadLetterGroup
from operations.replays import Replay, ReplayStatus


def an_hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(minutes=90)


def group(message: str) -> DeadLetterGroup:
    return DeadLetterGroup(
        consumer="usage-meter.events",
        error_type="pydantic_core.ValidationError",
        error_code="internal_error",
        fingerprint="3f9c2ab1d0e4",
        count=12_345,
        error_message=message,
        example_id=str(uuid4()),
        oldest_at=an_hour_ago(),
        newest_at=an_hour_ago(),
    )


def test_dead_letters_are_counted_in_a_line_each() -> None:
    lines = printed(group_table([group("a"), group("b")]))
    assert lines[1:] == ["12,345  usage-meter.events  ValidationError  3f9c2ab1d0e4     1 h     1 h"] * 2


def test_a_message_with_markup_and_escapes_is_shown_as_it_is() -> None:
    found = group("x[/y]\x1b[2J")
    lines = printed(example_table([found]))
    assert lines[1:] == [f"3f9c2ab1d0e4  {found.example_id}  x[/y]\\x1b[2J"]


def test_replays_keep_ids_and_figures_whole() -> None:
    replay = Replay(
        id=uuid4(),
        who="somebody@a-host-with-a-long-name",
        consumer="usage-meter.events",
        filter=EventFilter(types=("*.upload.*",)),
        rate=None,
        next_offset=7,
        end_offset=9,
        read_count=1_234_567,
        replayed_count=1_234_567,
        status=ReplayStatus.INTERRUPTED,
        started_at=an_hour_ago(),
        updated_at=an_hour_ago(),
    )
    lines = printed(replay_table([replay]))
    assert max(len(line) for line in lines) <= 80
    assert lines[1].startswith(f"{replay.id}  usage-meter")
    assert lines[1].endswith("1,234,567    1 h")
    assert "somebody" in " ".join(printed(replay_table([replay]), width=200))
