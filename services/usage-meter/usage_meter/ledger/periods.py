"""Periods: bandwidth and requests begin anew with each calendar month in UTC."""

from jettythunder.database import Connection, Database
from usage_meter.ledger.book import Ledger
from usage_meter.ledger.store import LedgerStore
from usage_meter.scheduling.lock import WorkLock

_BATCH_SIZE = 500


class Periods:
    """Begins the month for accounts that do nothing themselves."""

    def __init__(self, database: Database, store: LedgerStore, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        self._lock = WorkLock(database, "begin-periods")

    async def run(self) -> float:
        """Begin all that are due and announce what that restores; how long it worked, in seconds."""
        return await self._lock.run(self._begin_some)

    async def _begin_some(self, on: Connection) -> bool:
        due = await self._store.find_due_periods(on, batch_size=_BATCH_SIZE)
        if due:
            await self._ledger.book(on, [], await self._ledger.lock(on, due))
        return bool(due)
