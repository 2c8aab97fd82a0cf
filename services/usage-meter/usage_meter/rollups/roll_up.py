"""Rolling up: the rows of hours that the ledger has entries in.

Guarantees given here: a row is a function of the ledger alone, so computing it again changes nothing; an
event that comes late corrects its hour and every hour after it. One transaction computes rows at a time:
each begins with what the row before it says. A transaction computes a month of an account at most and queues
what comes after; where that takes longer than a statement may, the next one takes less. An account whose rows
can't be computed goes behind all others, and holds up none.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from prometheus_client import Gauge

from jettythunder import telemetry
from jettythunder.database import Connection, Database
from jettythunder.errors import DatabaseConflict, DatabaseTimedOut, DatabaseUnavailable
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
        # Accounts whose rows could not be computed: what is queued of them waits behind all others.
        self._put_off: set[UUID] = set()

    async def roll_up_recent(self) -> float:
        """Compute the rows of the hours around now: few rows, so it is done often.

        Returns:
            For how many seconds it worked.
        """
        oldest_hour = datetime.now(UTC) - _RECENT
        return await self._roll_up(
            lambda on, limit: self._store.take_recent_hours(
                on, oldest_hour=oldest_hour, but_of=self._put_off, entry_limit=limit
            )
        )

    async def roll_up_all(self) -> float:
        """Compute rows that are behind, for some seconds. Late events move later hours, so they gather more.

        Returns:
            For how many seconds it worked.
        """
        try:
            worked_seconds = await self._roll_up(
                lambda on, limit: self._store.take_waiting_hours(on, entry_limit=limit)
            )
        except Exception:
            await self._measure_backlog()
            raise
        await self._measure_backlog()
        return worked_seconds

    async def _measure_backlog(self) -> None:
        _backlog.set(await self._store.backlog(self._database))

    async def _roll_up(self, take: Callable[[Connection, int], Awaitable[list[QueuedHour]]]) -> float:
        ends_at = time.monotonic() + _RUN_SECONDS
        hours: list[QueuedHour] = []

        async def roll_up_some(on: Connection) -> bool:
            nonlocal hours
            portion = self._portion
            began = time.monotonic()
            hours = []
            hours = await take(on, portion.accounts)
            if hours:
                await self._store.recompute_hours(on, hours=hours, hour_limit=portion.hours)
                self._portion = portion.after(time.monotonic() - began)
                self._put_off.difference_update(hour.account_id for hour in hours)
            return bool(hours) and time.monotonic() < ends_at

        try:
            return await self._lock.run(roll_up_some)
        except (DatabaseUnavailable, DatabaseConflict):
            raise
        except Exception as error:
            await self._take_less(hours, error)
            raise

    async def _take_less(self, hours: Sequence[QueuedHour], error: Exception) -> None:
        """Compute a smaller portion next, until it is known whose rows can't be computed."""
        failed, is_too_long = self._portion, isinstance(error, DatabaseTimedOut)
        self._portion = failed.smaller() if is_too_long else failed.of_one_account()
        if len(hours) == 1 and not (is_too_long and self._portion != failed):
            account_id = hours[0].account_id
            log.error("hours of an account not computed", account_id=str(account_id))
            self._put_off.add(account_id)
            await self._store.postpone(self._database, account_id=account_id)
        else:
            log.warning("hours not computed: fewer at once", too_long=is_too_long, **vars(self._portion))
