"""How much of one kind may go on at once: refused where nothing is free, or waited for in order."""

import asyncio
from collections import Counter, deque
from collections.abc import Hashable


class Slots:
    """Counts what goes on at once, in total and for each holder.

    A holder never has more than are left free after it. So it takes many holders to fill the slots, and a
    new one finds room however much a few others ask for.

    Args:
        total: how many there are.
        per_holder: the most that one holder may have.
    """

    def __init__(self, total: int, *, per_holder: int) -> None:
        self._total = total
        self._per_holder = per_holder
        self._taken: Counter[Hashable] = Counter()
        self._taken_count = 0

    def take(self, holder: Hashable) -> bool:
        """Take one slot, where the holder may have one more."""
        own, free = self._taken[holder], self._total - self._taken_count
        if free < 1 or own >= self._per_holder or (own and own >= free):
            return False
        self._taken[holder] += 1
        self._taken_count += 1
        return True

    def give_back(self, holder: Hashable) -> None:
        """Give back one slot that was taken."""
        self._taken_count -= 1
        self._taken[holder] -= 1
        if not self._taken[holder]:
            del self._taken[holder]


class Turns:
    """Lets so many go on at once; the others wait, first come first served.

    One timer serves all who wait. A timer for each, as ``asyncio.timeout`` makes it, would cost a small
    request as much as all the rest of its wait.

    Args:
        total: how many may go on at once.
        wait_seconds: the longest wait.
    """

    def __init__(self, total: int, *, wait_seconds: float) -> None:
        self._free = total
        self._wait_seconds = wait_seconds
        # Those who wait, the first one first, with the moment at which each gives up.
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Wait for a turn, which the caller gives back.

        Raises:
            TimeoutError: none came within the time limit.
        """
        if self._free:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting.append((loop.time() + self._wait_seconds, turn))
        if self._timer is None:
            self._timer = loop.call_later(self._wait_seconds, self._give_up)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:
                self.give_back()
            raise

    def give_back(self) -> None:
        """End a turn: the next who waits has it."""
        while self._waiting:
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _give_up(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, turn = self._waiting.popleft()
            if not turn.done():
                turn.set_exception(TimeoutError())
        self._timer = loop.call_at(self._waiting[0][0], self._give_up) if self._waiting else None
