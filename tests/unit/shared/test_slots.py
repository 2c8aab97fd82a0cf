"""Slots: in total, for each holder, and some for a newcomer. Turns: in order, with a limited wait."""

import asyncio

import pytest
from tests.support.virtual_time import now, run_virtually

from jettythunder.slots import Slots, Turns


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


def test_turns_are_given_in_order() -> None:
    async def scenario() -> list[str]:
        turns = Turns(1, wait_seconds=5)
        went: list[str] = []

        async def go(name: str) -> None:
            await turns.take()
            went.append(name)
            await asyncio.sleep(1)
            turns.give_back()

        await asyncio.gather(go("a"), go("b"), go("c"))
        assert now() == 3
        return went

    assert run_virtually(scenario()) == ["a", "b", "c"]


def test_each_waits_for_its_turn_as_long_as_the_limit_says() -> None:
    async def scenario() -> None:
        turns = Turns(1, wait_seconds=5)
        await turns.take()

        async def gives_up_at() -> float:
            with pytest.raises(TimeoutError):
                await turns.take()
            return now()

        first = asyncio.create_task(gives_up_at())
        await asyncio.sleep(2)
        second = asyncio.create_task(gives_up_at())
        assert (await first, await second) == (5, 7)

    run_virtually(scenario())


@pytest.mark.parametrize("is_given", [False, True], ids=["while it waits", "as it gets its turn"])
def test_the_turn_of_one_who_was_cancelled_goes_to_the_next(is_given: bool) -> None:
    async def scenario() -> None:
        turns = Turns(1, wait_seconds=5)
        await turns.take()
        cancelled, following = asyncio.create_task(turns.take()), asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        if is_given:
            turns.give_back()
        cancelled.cancel()
        if not is_given:
            turns.give_back()
        await following
        assert now() == 0

    run_virtually(scenario())
