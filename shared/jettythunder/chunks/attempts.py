"""How often each chunk was sent lately: a token is good for a bounded number of times."""

import time
from collections.abc import Callable
from uuid import UUID

from jettythunder.errors import TooManyAttempts

_WINDOW_SECONDS = 900.0
_MOST_REMEMBERED = 100_000


class Attempts:
    """Counts, in this process, how often each chunk was sent in a quarter of an hour from its first time on.

    Args:
        limit: how often one chunk may be sent in that time.
        clock: in seconds.
    """

    def __init__(self, limit: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        # In the order of their beginnings, so the oldest are the first.
        self._begun_at: dict[tuple[UUID, int], float] = {}
        self._counts: dict[tuple[UUID, int], int] = {}

    def count(self, upload_id: UUID, number: int) -> None:
        """Count that a chunk is sent.

        Raises:
            TooManyAttempts: it was sent as often as it may be.
        """
        now, chunk = self._clock(), (upload_id, number)
        self._forget_old(now)
        begun_at = self._begun_at.setdefault(chunk, now)
        count = self._counts.get(chunk, 0)
        if count >= self._limit:
            raise TooManyAttempts(retry_after_seconds=begun_at + _WINDOW_SECONDS - now)
        self._counts[chunk] = count + 1

    def _forget_old(self, now: float) -> None:
        while self._begun_at:
            chunk, begun_at = next(iter(self._begun_at.items()))
            if begun_at + _WINDOW_SECONDS > now and len(self._begun_at) < _MOST_REMEMBERED:
                return
            del self._begun_at[chunk], self._counts[chunk]
