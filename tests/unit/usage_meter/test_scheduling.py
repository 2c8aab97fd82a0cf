"""Work on a schedule: who does it, and how long it rests."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import pytest

from usage_meter.scheduling.lock import WorkLock
from usage_meter.scheduling.metering import pause_seconds


class Transactions:
    """A database whose transactions get the lock, or not, after a long wait for a connection."""

    def __init__(self, *, is_free: bool = True) -> None:
        self.is_free = is_free
        self.now = 0.0
        self.open = 0
        self.most_open = 0

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transactions"]:
        self.now += 100
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        yield self
        self.open -= 1

    async def fetch(self, statement: object, arguments: Sequence[object]) -> list[tuple[bool]]:
        await asyncio.sleep(0)
        return [(self.is_free,)]


def lock(database: Transactions) -> WorkLock:
    return WorkLock(database, "test", clock=lambda: database.now)  # type: ignore[arg-type]


async def test_batches_are_done_until_nothing_is_left() -> None:
    database = Transactions()
    left = [True, True, False]

    async def batch(_: object) -> bool:
        database.now += 2
        return left.pop(0)

    assert await lock(database).run(batch) == 6
    assert left == []


async def test_what_another_instance_does_is_left_to_it() -> None:
    async def batch(_: object) -> bool:
        raise AssertionError("it has no right to work")

    assert await lock(Transactions(is_free=False)).run(batch) == 0


async def test_works_that_share_a_lock_take_turns() -> None:
    database = Transactions()
    shared = lock(database)
    done: list[str] = []

    async def work(name: str) -> None:
        async def batch(_: object) -> bool:
            done.append(name)
            return done.count(name) < 3

        await shared.run(batch)

    await asyncio.gather(work("late"), work("recent"))
    assert done == ["late", "recent"] * 3
    assert database.most_open == 1


async def test_a_failed_batch_leaves_the_turn_to_others() -> None:
    database = Transactions()
    shared = lock(database)

    async def failing(_: object) -> bool:
        raise ValueError

    async def working(_: object) -> bool:
        return False

    with pytest.raises(ValueError):
        await shared.run(failing)
    assert await shared.run(working) == 0


@pytest.mark.parametrize(
    ("worked_seconds", "is_behind", "pause"),
    [(0, False, 1), (0.2, False, 1), (60, False, 240), (0, True, 5), (3, True, 60), (60, True, 360)],
)
def test_long_work_rests_long_and_longer_while_events_wait(
    worked_seconds: float, is_behind: bool, pause: float
) -> None:
    assert pause_seconds(worked_seconds, interval_seconds=1, is_behind=is_behind) == pause
