"""Rolling up: the rows of hours that the ledger has entries in.

Guarantees given here: a row is a function of the ledger alone, so computing it again changes nothing; an
event that comes late corrects its hour and every hour after it. One transaction computes rows at a time:
each begins with what the row before it says.
"""

from datetime import UTC, datetime, timedelta

from prometheus_client import Gauge

from jettythunder.database import Connection, Database
from usage_meter.rollups.store import RollupStore
from usage_meter.scheduling.lock import WorkLock

_ACCOUNTS_AT_ONCE = 100
_RECENT = timedelta(hours=2)
_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)

_backlog = Gauge("jettythunder_meter_rollup_backlog", "Hours whose row is behind the ledger")


class Rollups:
    """Keeps storage_usage up with the ledger."""

    def __init__(self, database: Database, store: RollupStore) -> None:
        self._database = database
        self._store = store
        self._lock = WorkLock(database, "roll-up")

    async def roll_up_recent(self) -> float:
        """Compute the rows of the hours around now: few rows, so it is done often.

        Returns:
            For how many seconds it worked.
        """
        return await self._roll_up(datetime.now(UTC) - _RECENT)

    async def roll_up_all(self) -> float:
        """Compute all rows that are behind. Late events move every later hour, so they gather longer.

        Returns:
            For how many seconds it worked.
        """
        worked_seconds = await self._roll_up(_BEGINNING)
        _backlog.set(await self._store.backlog(self._database))
        return worked_seconds

    async def _roll_up(self, oldest_hour: datetime) -> float:
        async def roll_up_some(on: Connection) -> bool:
            hours = await self._store.take_queued_hours(
                on, oldest_hour=oldest_hour, account_limit=_ACCOUNTS_AT_ONCE
            )
            if hours:
                await self._store.recompute_hours(on, hours=hours)
            return bool(hours)

        return await self._lock.run(roll_up_some)
