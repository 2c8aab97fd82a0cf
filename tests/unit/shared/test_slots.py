"""Slots: in total, for each holder, and always some for a newcomer."""

from jettythunder.slots import Slots


def taken(slots: Slots, holder: str, count: int) -> int:
    return sum(slots.take(holder) for _ in range(count))


def test_a_holder_has_so_many() -> None:
    slots = Slots(100, per_holder=3)
    assert taken(slots, "a", 10) == 3
    assert taken(slots, "b", 10) == 3


def test_a_holder_has_no_more_than_it_leaves() -> None:
    slots = Slots(12, per_holder=100)
    assert taken(slots, "a", 100) == 6
    assert taken(slots, "b", 100) == 3
    assert taken(slots, "c", 100) == 2
    assert taken(slots, "d", 100) == 1


def test_a_slot_that_was_given_back_can_be_taken_again() -> None:
    slots = Slots(1, per_holder=1)
    assert slots.take("a")
    assert not slots.take("b")
    slots.give_back("a")
    assert slots.take("b")
