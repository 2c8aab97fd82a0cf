"""Connections are shared fairly, and never exceed what there is."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from tests.support.virtual_time import now, run_virtually

from jettythunder_client.budget import Budget, Share
from jettythunder_client.engine import Engine
from jettythunder_client.rate_limit import RateLimit, parse_limit
from jettythunder_client.scheduler import Attempt, Limits


def taken(share: Share, wanted: int) -> int:
    """Ask, and take all that is given."""
    given = share.room(wanted)
    for _ in range(given):
        share.take()
    return given


def in_a_loop(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test on a virtual clock."""

    def run() -> None:
        run_virtually(test())

    run.__name__ = test.__name__
    return run


@in_a_loop
async def test_one_transfer_has_all_but_the_one_that_is_left_to_forms() -> None:
    budget = Budget(32, RateLimit())
    assert taken(budget.join(lambda: None), 100) == 31
    async with budget.form():
        assert budget.in_use == 32


@in_a_loop
async def test_of_few_connections_none_is_left() -> None:
    assert taken(Budget(3, RateLimit()).join(lambda: None), 100) == 3


@in_a_loop
async def test_a_second_transfer_gets_its_half_as_connections_become_free() -> None:
    budget = Budget(16, RateLimit())
    first, second = budget.join(lambda: None), budget.join(lambda: None)
    assert taken(first, 100) == 15
    assert second.room(100) == 0
    for _ in range(10):
        first.release()
        taken(second, 100)
        taken(first, 100)
    assert sorted((first.in_use, second.in_use)) == [7, 8]


@in_a_loop
async def test_what_one_can_t_use_is_for_the_others() -> None:
    budget = Budget(16, RateLimit())
    first, second = budget.join(lambda: None), budget.join(lambda: None)
    assert first.room(100) == 15
    first.take()
    first.settle()
    assert taken(second, 100) == 14


@in_a_loop
async def test_a_transfer_that_waits_is_woken() -> None:
    budget, woken = Budget(2, RateLimit()), []
    first = budget.join(lambda: None)
    second = budget.join(lambda: woken.append(True))
    taken(first, 2)
    assert second.room(1) == 0
    first.release()
    assert (woken, second.room(1)) == ([True], 1)


@in_a_loop
async def test_forms_come_in_turn_and_one_that_is_cancelled_gives_its_place_back() -> None:
    budget, order = Budget(1, RateLimit()), []

    async def send(number: int) -> None:
        async with budget.form():
            order.append(number)
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(send(number)) for number in range(4)]
    await asyncio.sleep(0.5)
    tasks[0].cancel()
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 1, 3]
    assert budget.in_use == 0


@in_a_loop
async def test_forms_pause_together() -> None:
    budget = Budget(4, RateLimit())
    assert budget.pause_forms(10) is True
    assert budget.pause_forms(5) is False
    async with budget.form():
        assert now() == 10


@in_a_loop
async def test_a_slow_limit_has_few_connections() -> None:
    budget = Budget(32, RateLimit(parse_limit("256k")))
    assert taken(budget.join(lambda: None), 100) == 4


@pytest.mark.parametrize("seed", range(5))
async def test_many_transfers_and_forms_end_within_the_budget(seed: int) -> None:
    chance = random.Random(seed)
    budget = Budget(chance.randint(1, 12), RateLimit())
    most = at_edge = 0

    async def transfer(attempt: Attempt, moved: Callable[[int], None]) -> None:
        nonlocal most, at_edge
        most = max(most, budget.in_use)
        at_edge += 1
        try:
            assert at_edge <= 5
            for _ in range(chance.randint(1, 3)):
                await asyncio.sleep(0)
            moved(attempt.size_bytes)
        finally:
            at_edge -= 1

    async def upload() -> None:
        engine = Engine(
            transfer,
            chunks=dict.fromkeys(range(1, chance.randint(2, 30)), 10),
            latencies={"edge": 0.0},
            regions={},
            limits=Limits(max_parallel=32, per_edge=5),
            budget=budget,
            total_bytes=300,
            stall_seconds=30,
            observe=lambda _: None,
        )
        await engine.run()

    async def form() -> None:
        nonlocal most
        async with budget.form():
            most = max(most, budget.in_use)
            await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await asyncio.gather(*(upload() for _ in range(8)), *(form() for _ in range(30)))
    assert budget.in_use == 0
    assert most <= budget._connections
