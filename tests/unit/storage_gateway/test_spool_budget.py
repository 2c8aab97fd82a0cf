"""The spool's budget: never passed, charged as bytes arrive, first come, first served, and never stuck."""

import asyncio
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.virtual_time import now, run_virtually

from storage_gateway.errors import GatewayBusy
from storage_gateway.uploads.spool import Holding, SpoolBudget

TOTAL = 100
CHUNK = 10
A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def budget_of(total_bytes: int = TOTAL, *, share: float = 1.0) -> SpoolBudget:
    return SpoolBudget(total_bytes, chunk_bytes=CHUNK, account_share=share)


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_chunk_is_charged_what_has_arrived() -> None:
    budget = budget_of()
    chunk = Holding(A)
    await budget.take(chunk, 3)
    assert (budget.free_bytes, chunk.held_bytes) == (97, 3)
    await budget.take(chunk, 4)
    assert budget.free_bytes == 93
    budget.release(chunk)
    assert (budget.free_bytes, chunk.held_bytes) == (100, 0)


async def test_slow_uploads_that_hold_little_leave_room_for_the_others() -> None:
    budget = budget_of()
    for _ in range(30):
        await budget.take(Holding(A), 1)
    async with asyncio.timeout(10):
        await budget.take(Holding(B), CHUNK)


async def test_an_account_holds_no_more_than_it_leaves() -> None:
    budget = budget_of()
    holdings = [Holding(A) for _ in range(20)]
    waiting = [asyncio.create_task(budget.take(holding, 5)) for holding in holdings]
    await settle()
    # Half of the whole, and one chunk that goes on beyond it.
    assert 45 <= sum(holding.held_bytes for holding in holdings) <= 55
    async with asyncio.timeout(10):
        await budget.take(Holding(B), CHUNK)
    for task in waiting:
        task.cancel()


async def test_an_account_holds_no_more_than_its_share() -> None:
    budget = budget_of(share=0.2)
    holdings = [Holding(A) for _ in range(20)]
    waiting = [asyncio.create_task(budget.take(holding, 5)) for holding in holdings]
    await settle()
    assert sum(holding.held_bytes for holding in holdings) == 25
    for task in waiting:
        task.cancel()


async def test_who_waits_for_its_own_account_holds_nobody_else_up() -> None:
    budget = budget_of(share=0.1)
    first, second, third = Holding(A), Holding(A), Holding(A)
    await budget.take(first, 10)
    waiting = [asyncio.create_task(budget.take(holding, 6)) for holding in (second, third)]
    await settle()
    assert third.held_bytes == 0
    async with asyncio.timeout(10):
        await budget.take(Holding(B), 5)
    budget.release(first)
    budget.release(second)
    await asyncio.gather(*waiting)


async def test_room_is_given_in_the_order_of_asking() -> None:
    budget = budget_of(20)
    full = [Holding(UUID(int=number)) for number in range(10, 20)]
    for holding in full:
        await budget.take(holding, 1)
    order: list[str] = []

    async def take(name: str, holding: Holding) -> None:
        await budget.take(holding, 10)
        order.append(name)

    waiting = [asyncio.create_task(take(name, Holding(account))) for name, account in (("a", A), ("b", B))]
    await settle()
    # The first takes what is kept back; the second waits for others to be done.
    assert order == ["a"]
    for holding in full:
        budget.release(holding)
    await settle()
    assert order == ["a"]
    for task in waiting:
        task.cancel()


async def test_half_received_chunks_that_fill_the_budget_are_completed_one_by_one() -> None:
    budget = budget_of(50)
    done: list[int] = []

    async def upload(number: int) -> None:
        chunk = Holding(UUID(int=number))
        for _ in range(CHUNK):
            await budget.take(chunk, 1)
            await asyncio.sleep(0)
        done.append(number)
        budget.release(chunk)

    async with asyncio.timeout(10):
        await asyncio.gather(*(upload(number) for number in range(40)))
    assert len(done) == 40
    assert budget.free_bytes == 50


def test_a_new_upload_waits_for_so_long_and_then_comes_again() -> None:
    async def run() -> None:
        budget = budget_of(20)
        first, second = Holding(A), Holding(B)
        await budget.take(first, 10)
        await budget.take(second, 5)
        with pytest.raises(GatewayBusy) as refused:
            await budget.take(Holding(C), 10, timeout_seconds=3)
        assert now() == 3
        assert refused.value.retry_after_seconds

    run_virtually(run())


async def test_who_goes_away_while_waiting_takes_nothing() -> None:
    budget = budget_of(20)
    first, gone, last = Holding(A), Holding(B), Holding(C)
    await budget.take(first, 10)
    waiting = asyncio.create_task(budget.take(gone, 8))
    behind = asyncio.create_task(budget.take(last, 8))
    await settle()
    waiting.cancel()
    await settle()
    budget.release(gone)
    budget.release(first)
    await behind
    assert (gone.held_bytes, budget.free_bytes) == (0, 12)


async def test_room_that_becomes_free_just_as_who_waits_goes_away_is_left_for_others() -> None:
    budget = budget_of(20)
    first, second, gone, last = Holding(A), Holding(B), Holding(C), Holding(C)
    await budget.take(first, 10)
    await budget.take(second, 8)
    waiting = asyncio.create_task(budget.take(gone, 8))
    await settle()
    waiting.cancel()
    # It has not noticed yet.
    budget.release(first)
    budget.release(second)
    await settle()
    assert (waiting.cancelled(), gone.held_bytes, budget.free_bytes) == (True, 0, 20)
    async with asyncio.timeout(10):
        await budget.take(last, 8)


@settings(max_examples=200)
@given(
    uploads=st.lists(
        st.tuples(st.integers(0, 4), st.lists(st.integers(1, 4), min_size=1, max_size=6), st.booleans()),
        max_size=30,
    ),
    total=st.integers(20, 60),
    share=st.sampled_from([0.1, 0.5, 1.0]),
)
def test_whatever_comes_it_is_never_passed_and_never_stuck(
    uploads: list[tuple[int, list[int], bool]], total: int, share: float
) -> None:
    async def run() -> None:
        budget = budget_of(total, share=share)

        async def upload(account: int, pieces: list[int], vanishes: bool) -> None:
            chunk = Holding(UUID(int=account))
            for piece in pieces:
                if chunk.held_bytes + piece > CHUNK:
                    break
                await budget.take(chunk, piece)
                assert budget.free_bytes >= 0
                await asyncio.sleep(1)
                if vanishes:
                    break
            # Completed chunks take a while to be stored.
            await asyncio.sleep(3)
            budget.release(chunk)

        await asyncio.gather(*(upload(*one) for one in uploads))
        assert budget.free_bytes == total

    # A virtual clock says so when nothing is left that could ever happen.
    run_virtually(run())
