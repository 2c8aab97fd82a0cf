"""The backlog: events that have happened and are not booked yet."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta

from jettythunder.database import Runner
from jettythunder.errors import BrokerUnavailable
from usage_meter.ledger.store import LedgerStore
from usage_meter.messages import USAGE_METER_EVENTS

# Gateways' clocks, the outbox's lanes and the batches of other instances are apart by less.
_MARGIN = timedelta(minutes=5)
_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)

_TYPES = [payload.TYPE for payload in USAGE_METER_EVENTS.payloads]


class Backlog:
    """Looks at what waits: in the outbox, in the queues, and in this process.

    Args:
        depths: how many messages wait in queues.
        queues: where events may wait.
        unapplied: how many events this process has received and not booked yet.
        newest_booked_at: when the newest event of the last batch happened.
    """

    def __init__(
        self,
        store: LedgerStore,
        *,
        depths: Callable[..., Awaitable[dict[str, int]]],
        queues: Sequence[str],
        unapplied: Callable[[], int],
        newest_booked_at: Callable[[], datetime | None],
    ) -> None:
        self._store = store
        self._depths = depths
        self._queues = queues
        self._unapplied = unapplied
        self._newest_booked_at = newest_booked_at

    async def count(self, on: Runner) -> int:
        """How many events are not booked, of those that can be seen from here.

        Raises:
            BrokerUnavailable: the broker did not say.
        """
        unpublished = await self._store.outbox_backlog(on, types=_TYPES)
        depths = await self._depths(*self._queues)
        # In the direction in which events move, so that none passes unseen.
        return unpublished + sum(depths.values()) + self._unapplied()

    async def booked_until(self, on: Runner) -> datetime:
        """Events that happened before this moment are booked."""
        now = datetime.now(UTC)
        oldest_unpublished_at = await self._store.oldest_in_outbox(on, types=_TYPES)
        try:
            waiting: int | None = sum((await self._depths(USAGE_METER_EVENTS.name)).values())
        except BrokerUnavailable:
            waiting = None
        return booked_until(
            now=now,
            oldest_unpublished_at=oldest_unpublished_at,
            waiting=None if waiting is None else waiting + self._unapplied(),
            newest_booked_at=self._newest_booked_at(),
        )


def booked_until(
    *,
    now: datetime,
    oldest_unpublished_at: datetime | None,
    waiting: int | None,
    newest_booked_at: datetime | None,
) -> datetime:
    """Before which moment all events are booked.

    The queue keeps their order, so what is booked last tells how far it is read.

    Args:
        waiting: events in the queue and in this process; None where the broker did not say.
        newest_booked_at: when the newest event of the last batch happened; None before the first batch.
    """
    if waiting == 0:
        reached = now
    elif newest_booked_at is None:
        reached = _BEGINNING
    else:
        reached = min(newest_booked_at, now) - _MARGIN
    return min(reached, oldest_unpublished_at or now)
