"""Closing: hours that are over are published, and again where a late event has corrected them.

Hours that the roll-up has yet to compute stay open. A run looks at some thousands and the next goes on after
them, so that those that wait keep no others from being closed, and are not looked at by every run.
"""

from datetime import datetime
from uuid import UUID

from jettythunder import outbox
from jettythunder.contracts.quota import UsageRecordedV1
from jettythunder.database import Connection, Database
from usage_meter.messages import SOURCE
from usage_meter.reconciliation.queue import ReconciliationQueue
from usage_meter.rollups.store import EndedHour, RollupStore
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
        # The end and the account of the last hour that was looked at.
        self._after: tuple[datetime, UUID] | None = None

    async def run(self) -> float:
        """Close the hours that are over, some thousands a run; for how many seconds it worked."""
        batches = 0

        async def close_some(on: Connection) -> bool:
            nonlocal batches
            batches += 1
            return await self._close_batch(on) and batches < _BATCHES_A_RUN

        return await self._lock.run(close_some)

    async def _close_batch(self, on: Connection) -> bool:
        ended = await self._store.close_hours(
            on, grace_seconds=self._after_seconds, after=self._after, batch_size=_HOURS_AT_ONCE
        )
        closed = [hour for hour in ended if hour.is_closed]
        if closed:
            await outbox.write(on, *map(_recorded, closed), source=SOURCE)
            await self._queue.add(on, account_ids={hour.account_id for hour in closed})
        is_more_left = len(ended) == _HOURS_AT_ONCE
        self._after = (ended[-1].period_end, ended[-1].account_id) if is_more_left else None
        return is_more_left


def _recorded(hour: EndedHour) -> UsageRecordedV1:
    return UsageRecordedV1(
        account_id=hour.account_id,
        storage_bytes=hour.storage_bytes,
        bandwidth_bytes=hour.bandwidth_bytes,
        request_count=hour.request_count,
        period_start=hour.period_start,
        period_end=hour.period_end,
        revision=hour.revision,
    )
