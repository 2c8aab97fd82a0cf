"""Doing many small things at no more than a given rate."""

import asyncio
import time
from typing import Protocol

_STEPS_PER_SECOND = 20


class Clock(Protocol):
    """Time, as far as pacing needs it."""

    def now(self) -> float:
        """Seconds since some moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The time of this machine."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Pace:
    """Spreads items over time; without a rate they go as fast as they can.

    Args:
        rate: items a second at most.
        largest_batch: how many items are done at once at most.
    """

    def __init__(self, rate: float | None, clock: Clock, *, largest_batch: int) -> None:
        self._rate = rate
        self._clock = clock
        self._largest_batch = largest_batch
        self._began = clock.now()
        self._done = 0

    @property
    def batch_size(self) -> int:
        """How many items to do at once, so that waiting is fine-grained."""
        if self._rate is None:
            return self._largest_batch
        return max(1, min(self._largest_batch, round(self._rate / _STEPS_PER_SECOND)))

    def did(self, count: int) -> None:
        """Count items that were done."""
        self._done += count

    @property
    def due_in_seconds(self) -> float:
        """How long to wait before the next items."""
        if self._rate is None:
            return 0
        return max(0.0, self._began + self._done / self._rate - self._clock.now())
