"""Sweeping: reservations that no event will settle any more are released."""

from datetime import datetime

from prometheus_client import Counter

from jettythunder import telemetry
from jettythunder.database import Connection, Database
from jettythunder.ids import new_id
from usage_meter.ledger.backlog import Backlog
from usage_meter.ledger.book import Ledger
from usage_meter.ledger.model import expired_release
from usage_meter.ledger.store import LedgerStore
from usage_meter.scheduling.lock import WorkLock

log = telemetry.logger(__name__)

_BATCH_SIZE = 500

_swept = Counter(
    "jettythunder_meter_expired_holds_total", "Reservations released after their time", ["resource"]
)


class Sweep:
    """Releases expired reservations, but none whose event may still come."""

    def __init__(self, database: Database, store: LedgerStore, ledger: Ledger, backlog: Backlog) -> None:
        self._database = database
        self._store = store
        self._ledger = ledger
        self._backlog = backlog
        self._lock = WorkLock(database, "sweep")

    async def run(self) -> float:
        """Release all that are due; how long it kept the database busy, in seconds."""
        until = await self._backlog.booked_until(self._database)
        return await self._lock.run(lambda connection: self._release_some(connection, until))

    async def _release_some(self, on: Connection, booked_until: datetime) -> bool:
        keys = await self._store.find_expired_holds(on, booked_until=booked_until, batch_size=_BATCH_SIZE)
        if not keys:
            return False
        accounts = await self._ledger.lock(on, {key.account_id for key in keys})
        holds = await self._store.take_expired_holds(on, keys=keys)
        entries = [expired_release(hold, now=accounts.now, source_id=new_id()) for hold in holds]
        await self._ledger.book(on, entries, accounts)
        for hold in holds:
            _swept.labels(hold.resource).inc()
        held_bytes = sum(hold.held_bytes for hold in holds)
        log.info("expired reservations released", count=len(holds), bytes=held_bytes)
        return True
