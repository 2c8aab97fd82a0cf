"""Closing: hours that are over are published, and again where a late event has corrected them."""

from jettythunder import outbox
from jettythunder.contracts.quota import UsageRecordedV1
from jettythunder.database import Connection, Database
from usage_meter.messages import SOURCE
from usage_meter.rollups.store import ClosedHour, RollupStore
from usage_meter.scheduling.lock import WorkLock

_HOURS_AT_ONCE = 500


class Closing:
    """Closes hours.

    Args:
        after_seconds: how long after its end an hour is closed and published.
    """

    def __init__(self, database: Database, store: RollupStore, *, after_seconds: float) -> None:
        self._store = store
        self._after_seconds = after_seconds
        self._lock = WorkLock(database, "close-hours")

    async def run(self) -> float:
        """Close some of the hours that are over; for how many seconds it worked.

        One batch a run: hours of a backfill reach the broker at a steady pace instead of all at once.
        """
        return await self._lock.run(self._close_some)

    async def _close_some(self, on: Connection) -> bool:
        closed = await self._store.close_hours(
            on, grace_seconds=self._after_seconds, batch_size=_HOURS_AT_ONCE
        )
        if closed:
            await outbox.write(on, *map(_recorded, closed), source=SOURCE)
        return False


def _recorded(hour: ClosedHour) -> UsageRecordedV1:
    return UsageRecordedV1(**vars(hour))
