"""Work that is finished before a service ends, on a virtual clock."""

import asyncio

import pytest
from tests.support.virtual_time import now, run_virtually

from jettythunder.drain import Drain, UnderWay
from jettythunder.errors import ShuttingDown


class Work:
    """Work that takes so many seconds; how each piece ended."""

    def __init__(self) -> None:
        self.under_way = UnderWay()
        self.ended: list[str] = []

    async def do(self, seconds: float) -> None:
        try:
            with self.under_way.begun():
                await asyncio.sleep(seconds)
            self.ended.append("done")
        except ShuttingDown as error:
            assert error.retry_after_seconds
            self.ended.append("refused" if seconds == 0 else "cut off")


def drained(*seconds: float, within: float = 60) -> tuple[float, list[str]]:
    """How long draining took after work of these lengths had begun, and how each ended."""

    async def scene() -> tuple[float, list[str]]:
        work, drain = Work(), Drain()
        drain.add(work.under_way.drain)
        tasks = [asyncio.create_task(work.do(each)) for each in seconds]
        await asyncio.sleep(0)
        began = now()
        await drain.run(seconds=within)
        took = now() - began
        await work.do(0)
        await asyncio.gather(*tasks)
        return took, work.ended

    return run_virtually(scene())


def test_nothing_under_way_is_drained_at_once() -> None:
    assert drained() == (0, ["refused"])


def test_what_is_under_way_is_finished_and_nothing_more_begun() -> None:
    assert drained(5, 20) == (20, ["done", "done", "refused"])


def test_what_takes_too_long_fails_with_an_error_that_says_so() -> None:
    assert drained(5, 500, within=60) == (60, ["done", "cut off", "refused"])


def test_a_step_that_fails_keeps_no_other_from_its_end() -> None:
    async def scene() -> list[str]:
        work, drain = Work(), Drain()

        async def failing() -> None:
            raise OSError

        drain.add(failing)
        drain.add(work.under_way.drain)
        task = asyncio.create_task(work.do(5))
        await asyncio.sleep(0)
        await drain.run(seconds=60)
        await task
        return work.ended

    assert run_virtually(scene()) == ["done"]


async def test_a_caller_that_cancels_is_not_told_of_a_shutdown() -> None:
    work = Work()
    task = asyncio.create_task(work.do(3600))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await work.under_way.drain()
