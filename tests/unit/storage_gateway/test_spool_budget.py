"""The spool's budget: never passed, and first come, first served."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_gateway.errors import GatewayBusy
from storage_gateway.uploads.spool import SpoolBudget


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_large_request_is_not_overtaken_by_small_ones() -> None:
    budget = SpoolBudget(10)
    await budget.acquire(8, timeout_seconds=1)
    order: list[int] = []

    async def take(count: int) -> None:
        await budget.acquire(count, timeout_seconds=5)
        order.append(count)

    waiting = [asyncio.create_task(take(count)) for count in (9, 1, 2)]
    await settle()
    assert order == []
    budget.release(8)
    await settle()
    assert order == [9, 1]
    budget.release(9)
    await asyncio.gather(*waiting)
    assert order == [9, 1, 2]


async def test_a_request_that_waits_too_long_is_refused_and_delays_no_other() -> None:
    budget = SpoolBudget(10)
    await budget.acquire(8, timeout_seconds=1)
    large = asyncio.create_task(budget.acquire(9, timeout_seconds=0.01))
    await settle()
    small = asyncio.create_task(budget.acquire(2, timeout_seconds=5))
    with pytest.raises(GatewayBusy):
        await large
    await small
    assert budget.free_bytes == 0


async def test_a_request_cancelled_while_it_waits_takes_nothing() -> None:
    budget = SpoolBudget(10)
    await budget.acquire(10, timeout_seconds=1)
    gone = asyncio.create_task(budget.acquire(5, timeout_seconds=5))
    await settle()
    gone.cancel()
    await settle()
    budget.release(10)
    assert budget.free_bytes == 10


async def test_a_request_cancelled_as_it_is_granted_gives_its_bytes_back() -> None:
    budget = SpoolBudget(10)
    await budget.acquire(10, timeout_seconds=1)
    gone = asyncio.create_task(budget.acquire(5, timeout_seconds=5))
    await settle()
    budget.release(10)
    gone.cancel()
    await settle()
    assert budget.free_bytes == 10


@settings(max_examples=50, deadline=None)
@given(counts=st.lists(st.integers(1, 100), max_size=30), cancelled=st.sets(st.integers(0, 29)))
def test_the_budget_is_never_passed_and_all_of_it_comes_back(counts: list[int], cancelled: set[int]) -> None:
    async def run() -> None:
        budget = SpoolBudget(100)
        held = 0

        async def hold(count: int) -> None:
            nonlocal held
            await budget.acquire(count, timeout_seconds=5)
            held += count
            assert held <= 100
            try:
                await settle()
            finally:
                held -= count
                budget.release(count)

        tasks = [asyncio.create_task(hold(count)) for count in counts]
        await settle()
        for index in cancelled:
            if index < len(tasks):
                tasks[index].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not [t for t in tasks if not t.cancelled() and t.exception() is not None]
        assert budget.free_bytes == 100

    asyncio.run(run())
