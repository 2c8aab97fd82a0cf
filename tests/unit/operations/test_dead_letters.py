"""Selecting, counting and settling dead letters."""

from __future__ import annotations

import pytest
from tests.unit.operations.fakes import CONSUMERS, METER, FakeClock, FakeDeadLetters, FakeEntries, dead

from jettythunder.broker.dead_letter_queue import WINDOW_SIZE
from jettythunder.errors import BrokerUnavailable
from operations.audit import Audit
from operations.dead_letters import DeadLetters, Selection
from operations.dead_letters.model import MOST_GROUPS, MOST_TYPES, OTHERS, Groups
from operations.dead_letters.queues import read
from operations.dead_letters.settle import window_size
from operations.errors import ConsumerNotFound, DeadLetterNotFound

WHO = "tester"


class Bench:
    """The use-cases on a queue in memory."""

    def __init__(self, count: int) -> None:
        self.queues = FakeDeadLetters({METER.name: [dead(str(number)) for number in range(count)]})
        self.entries = FakeEntries()
        self.clock = FakeClock()
        self.letters = DeadLetters(
            consumers=CONSUMERS, queues=self.queues, audit=Audit(self.entries), clock=self.clock
        )

    def left(self) -> list[str]:
        return [message.message_id for message in self.queues.queues[METER.name]]


@pytest.mark.parametrize(
    "given", [{}, {"everything": True, "ids": ["1"]}, {"everything": True, "consumer": "x"}]
)
def test_a_selection_says_which_dead_letters_are_meant(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="say which dead letters"):
        Selection.model_validate(given)


def test_a_selection_takes_what_fulfils_all_that_is_given() -> None:
    letter = read(METER, dead("1", error="app.Wrong", fingerprint="f", kind="t"))
    for takes in ({"ids": ["1"]}, {"error_type": "app.Wrong", "type": "t"}, {"everything": True}):
        assert Selection.model_validate(takes).takes(letter)
    for passes in ({"ids": ["2"]}, {"error_type": "app.Wrong", "type": "u"}, {"consumer": "x"}):
        assert not Selection.model_validate(passes).takes(letter)


def test_groups_are_counted_largest_first() -> None:
    groups = Groups()
    for number, fingerprint in enumerate(["a", "b", "b"]):
        groups.add(read(METER, dead(str(number), fingerprint=fingerprint)))
    found = groups.largest_first()
    assert [(group.fingerprint, group.count, group.example_id) for group in found] == [
        ("b", 2, "1"),
        ("a", 1, "0"),
    ]


def test_there_is_a_limit_to_groups_and_types() -> None:
    groups = Groups()
    for number in range(MOST_GROUPS + 10):
        groups.add(read(METER, dead(str(number), fingerprint=str(number))))
    for number in range(MOST_TYPES + 10):
        groups.add(read(METER, dead(str(number), fingerprint="0", kind=str(number))))
    found = groups.largest_first()
    assert len(found) == MOST_GROUPS + 1
    assert found[0].types[OTHERS] == 11
    [others] = [group for group in found if group.fingerprint == OTHERS]
    assert others.count == 10


async def test_looking_goes_through_all_windows_and_takes_nothing() -> None:
    bench = Bench(WINDOW_SIZE * 2 + 1)
    [group] = await bench.letters.groups()
    assert (group.count, bench.queues.largest, len(bench.left())) == (
        WINDOW_SIZE * 2 + 1,
        WINDOW_SIZE,
        WINDOW_SIZE * 2 + 1,
    )


async def test_one_dead_letter_is_found_or_not() -> None:
    bench = Bench(3)
    assert (await bench.letters.fetch("2")).message_id == "2"
    with pytest.raises(DeadLetterNotFound):
        await bench.letters.fetch("3")
    with pytest.raises(ConsumerNotFound, match=r"meter\.events"):
        await bench.letters.fetch("2", consumer="nobody")


async def test_retrying_settles_window_by_window_and_notes_how_far_it_is() -> None:
    bench = Bench(2500)
    told: list[int] = []
    count = await bench.letters.retry(Selection(everything=True), who=WHO, on_progress=told.append)
    assert (count, len(bench.queues.given_back), bench.left()) == (2500, 2500, [])
    assert (told[-1], told) == (2500, sorted(told))
    assert [note["count"] for note in bench.entries.notes] == [1000, 2000]
    entry = bench.entries.entries[1]
    assert entry.result is not None
    assert (entry.result["count"], len(entry.result["ids"])) == (2500, 1000)


async def test_a_retry_that_is_cut_off_says_what_was_done_and_loses_nothing() -> None:
    bench = Bench(10)
    bench.queues.fails_at = "4"
    with pytest.raises(BrokerUnavailable):
        await bench.letters.retry(Selection(everything=True), who=WHO)
    assert bench.left() == ["4"]
    result = bench.entries.entries[1].result
    assert result is not None
    assert (result["count"], result["failed"]) == (9, "BrokerUnavailable")


async def test_discarding_keeps_the_reason_and_leaves_the_others() -> None:
    bench = Bench(3)
    assert await bench.letters.discard(Selection(ids=("1",)), why="a test", who=WHO) == 1
    assert (bench.left(), bench.queues.given_back) == (["0", "2"], [])
    assert bench.entries.entries[1].filter == {"ids": ["1"], "why": "a test"}


async def test_a_rate_is_kept_and_little_is_held() -> None:
    bench = Bench(5)
    await bench.letters.retry(Selection(consumer=METER.name), who=WHO, rate=0.01)
    assert bench.clock.seconds == pytest.approx(400)
    assert bench.queues.sizes == [3]


@pytest.mark.parametrize(("rate", "size"), [(None, WINDOW_SIZE), (1000, WINDOW_SIZE), (0.1, 30), (0.0001, 1)])
def test_a_slow_retry_holds_few_messages(rate: float | None, size: int) -> None:
    assert window_size(rate) == size
