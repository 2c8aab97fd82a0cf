"""Closing: hours that are over are published, and again where a late event has corrected them.

Hours that the roll-up has yet to compute stay open. A run looks at some thousands and the next goes on after
them, so that those that wait keep no others from being closed, and are not looked at by every run.
"""

from jettythunder import outbox
from jettythunder.contracts.quota import UsageRecordedV1
from jettythunder.database import Connection, Database
from usage_meter.messages import SOURCE
from usage_meter.reconciliation.queue import ReconciliationQueue
from usage_meter.rollups.store import ClosedHour, EndedHour, RollupStore
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
        # The last that was looked at.
        self._after: EndedHour | None = None

    async def run(self) -> float:
        """Close the hours that are over, some thousands a run; for how many seconds it worked."""
        batches = 0

        async def close_some(on: Connection) -> bool:
            nonlocal batches
            batches += 1
            return await self._close_batch(on) and batches < _BATCHES_A_RUN

        return await self._lock.run(close_some)

    async def _close_batch(self, on: Connection) -> bool:
        ended = await self._store.ended_hours(
            on, grace_seconds=self._after_seconds, after=self._after, batch_size=_HOURS_AT_ONCE
        )
        if closed := await self._store.close_hours(on, hours=ended):
            await outbox.write(on, *map(_recorded, closed), source=SOURCE)
            await self._queue.add(on, account_ids={hour.account_id for hour in closed})
        is_more_left = len(ended) == _HOURS_AT_ONCE
        self._after = ended[-1] if is_more_left else None
        return is_more_left


def _recorded(hour: ClosedHour) -> UsageRecordedV1:
    return UsageRecordedV1(**vars(hour))
