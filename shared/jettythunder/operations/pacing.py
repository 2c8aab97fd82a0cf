"""Doing many small things at no more than a given rate."""

import asyncio
import time

_STEPS_PER_SECOND = 20
_LARGEST_BATCH = 1000


class Pace:
    """Spreads items over time; without a rate they go as fast as they can.

    Args:
        rate: items a second at most.
    """

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._began = time.monotonic()
        self._done = 0

    @property
    def batch_size(self) -> int:
        """How many items to do at once, so that waiting is fine-grained."""
        if self._rate is None:
            return _LARGEST_BATCH
        return max(1, min(_LARGEST_BATCH, round(self._rate / _STEPS_PER_SECOND)))

    async def did(self, count: int) -> None:
        """Wait until these items are due to be done."""
        self._done += count
        if self._rate is not None:
            due = self._began + self._done / self._rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
