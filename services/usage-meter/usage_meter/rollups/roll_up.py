"""Rolling up: the rows of hours that the ledger has entries in.

Guarantees given here: a row is a function of the ledger alone, so computing it again changes nothing; an
event that comes late corrects its hour and every hour after it. One transaction computes rows at a time:
each begins with what the row before it says. A transaction computes a month of an account at most and queues
what comes after; where that takes longer than a statement may, the next one takes less.
"""

import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from prometheus_client import Gauge

from jettythunder import telemetry
from jettythunder.database import Connection, Database
from jettythunder.errors import DatabaseTimedOut
from usage_meter.rollups.model import Portion
from usage_meter.rollups.store import QueuedHour, RollupStore
from usage_meter.scheduling.lock import WorkLock

_RECENT = timedelta(hours=2)
# What is queued in the meantime is left to the next run, after a pause.
_RUN_SECONDS = 3.0

log = telemetry.logger(__name__)

_backlog = Gauge("jettythunder_meter_rollup_backlog", "Hours whose row is behind the ledger")


class Rollups:
    """Keeps storage_usage up with the ledger."""

    def __init__(self, database: Database, store: RollupStore) -> None:
        self._database = database
        self._store = store
        self._lock = WorkLock(database, "roll-up")
        self._portion = Portion()

    async def roll_up_recent(self) -> float:
        """Compute the rows of the hours around now: few rows, so it is done often.

        Returns:
            For how many seconds it worked.
        """
        oldest_hour = datetime.now(UTC) - _RECENT
        return await self._roll_up(
            lambda on, limit: self._store.take_recent_hours(on, oldest_hour=oldest_hour, entry_limit=limit)
        )

    async def roll_up_all(self) -> float:
        """Compute rows that are behind, for some seconds. Late events move later hours, so they gather more.

        Returns:
            For how many seconds it worked.
        """
        worked_seconds = await self._roll_up(
            lambda on, limit: self._store.take_waiting_hours(on, entry_limit=limit)
        )
        _backlog.set(await self._store.backlog(self._database))
        return worked_seconds

    async def _roll_up(self, take: Callable[[Connection, int], Awaitable[list[QueuedHour]]]) -> float:
        ends_at = time.monotonic() + _RUN_SECONDS

        async def roll_up_some(on: Connection) -> bool:
            portion = self._portion
            began = time.monotonic()
            hours = await take(on, portion.accounts)
            if hours:
                await self._store.recompute_hours(on, hours=hours, hour_limit=portion.hours)
                self._portion = portion.after(time.monotonic() - began)
            return bool(hours) and time.monotonic() < ends_at

        try:
            return await self._lock.run(roll_up_some)
        except DatabaseTimedOut:
            self._portion = self._portion.smaller()
            log.warning("hours took too long to compute: less at once", **vars(self._portion))
            raise
