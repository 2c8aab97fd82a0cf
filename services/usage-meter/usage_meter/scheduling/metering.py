"""What the usage-meter does by itself: it consumes events, and works on a schedule."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from jettythunder.broker.batches import BatchConsumer
from jettythunder.lifecycle import Periodic
from usage_meter.ledger.model import Fact

# Work that kept the database busy for a minute is followed by a pause of four. While events wait to be booked
# pauses are longer: what is computed and published before that would be computed and published again.
_REST = 4
_LONGER_WHILE_BEHIND = 4
_MOST_LONGER_SECONDS = 120.0
_MAX_BACKOFF_SECONDS = 5.0


class Metering:
    """The consumer of events and the scheduled work, together.

    Args:
        close_seconds: how long events that have arrived may take to be booked at the end.
    """

    def __init__(
        self, consumer: BatchConsumer[Fact], work: Sequence[Periodic], *, close_seconds: float
    ) -> None:
        self._consumer = consumer
        self._work = work
        self._close_seconds = close_seconds

    def start(self) -> None:
        """Begin."""
        self._consumer.start()
        for each in self._work:
            each.start()

    async def ping(self) -> None:
        """Whether events are consumed.

        Raises:
            BrokerUnavailable: they are not.
        """
        await self._consumer.ping()

    async def drain(self) -> None:
        """Take no more events, and book those that have arrived."""
        await self._consumer.close(timeout_seconds=self._close_seconds)

    async def close(self) -> None:
        """Stop; work that is cut off leaves its transaction undone and is repeated by the next run."""
        await asyncio.gather(*(each.close() for each in self._work))
        await self.drain()


def periodic(
    name: str,
    work: Callable[[], Awaitable[float]],
    *,
    interval_seconds: float,
    is_behind: Callable[[], bool],
    at_start: bool = True,
) -> Periodic:
    """Work that is repeated, and rests after long runs: most of the database's time is for events.

    Args:
        work: returns for how many seconds it kept the database busy.
        is_behind: whether more events may wait than are booked at once.
    """

    async def run() -> float:
        return pause_seconds(await work(), interval_seconds=interval_seconds, is_behind=is_behind())

    return Periodic(
        name,
        run,
        interval_seconds=interval_seconds,
        at_start=at_start,
        max_backoff_seconds=_MAX_BACKOFF_SECONDS,
    )


def pause_seconds(worked_seconds: float, *, interval_seconds: float, is_behind: bool) -> float:
    """How long work rests after it kept the database busy for some time."""
    pause = max(interval_seconds, _REST * worked_seconds)
    return pause + min(_LONGER_WHILE_BEHIND * pause, _MOST_LONGER_SECONDS) if is_behind else pause
