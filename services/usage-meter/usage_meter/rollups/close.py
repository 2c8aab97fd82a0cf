"""Closing: hours that are over are published, and again where a late event has corrected them."""

from jettythunder import outbox
from jettythunder.contracts.quota import UsageRecordedV1
from jettythunder.database import Connection, Database
from usage_meter.messages import SOURCE
from usage_meter.reconciliation.queue import ReconciliationQueue
from usage_meter.rollups.store import ClosedHour, RollupStore
from usage_meter.scheduling.lock import WorkLock

_HOURS_AT_ONCE = 500
# Hours of a backfill reach the broker at a steady pace instead of all at once.
_BATCHES_A_RUN = 10


class Closing:
    """Closes hours, and has their accounts reconciled.

    Args:
        after_seconds: how long after its end an hour is closed and published.
    """

    def __init__(
        self, database: Database, store: RollupStore, queue: ReconciliationQueue, *, after_seconds: float
    ) -> None:
        self._store = store
        self._queue = queue
        self._after_seconds = after_seconds
        self._lock = WorkLock(database, "close-hours")

    async def run(self) -> float:
        """Close the hours that are over, up to some thousands a run; for how many seconds it worked."""
        batches = 0

        async def close_some(on: Connection) -> bool:
            nonlocal batches
            batches += 1
            return await self._close_batch(on) and batches < _BATCHES_A_RUN

        return await self._lock.run(close_some)

    async def _close_batch(self, on: Connection) -> bool:
        closed = await self._store.close_hours(
            on, grace_seconds=self._after_seconds, batch_size=_HOURS_AT_ONCE
        )
        if closed:
            await outbox.write(on, *map(_recorded, closed), source=SOURCE)
            await self._queue.add(on, account_ids={hour.account_id for hour in closed})
        return len(closed) == _HOURS_AT_ONCE


def _recorded(hour: ClosedHour) -> UsageRecordedV1:
    return UsageRecordedV1(**vars(hour))
