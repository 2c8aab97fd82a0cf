"""Rollups: the hourly rows of storage_usage, computed from the ledger.

Guarantees given here: a row is a function of the ledger alone, so computing it again changes nothing; an
event that comes late corrects its hour and every hour after it, and what a closed hour said before is kept.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from prometheus_client import Gauge

from jettythunder import outbox
from jettythunder.contracts.quota import UsageRecordedV1
from jettythunder.database import Connection, Pool
from usage_meter.repository import RollupRepository
from usage_meter.service import SOURCE

_ACCOUNTS_AT_ONCE = 100
_HOURS_AT_ONCE = 500
_RECENT = timedelta(hours=2)
_THE_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)

_waiting = Gauge("jettythunder_meter_rollup_backlog", "Hours whose row is behind the ledger")


class Rollups:
    """Keeps storage_usage up with the ledger.

    Args:
        close_after_seconds: how long after its end an hour is closed and published.
    """

    def __init__(self, pool: Pool, repository: RollupRepository, *, close_after_seconds: float) -> None:
        self._pool = pool
        self._repository = repository
        self._close_after_seconds = close_after_seconds

    async def roll_up_recent(self) -> int:
        """Compute the rows of the hours around now: cheap, so it is done often."""
        return await self._roll_up(datetime.now(UTC) - _RECENT)

    async def roll_up_all(self) -> int:
        """Compute all rows that are behind. Late events move every later hour, so they gather longer."""
        count = await self._roll_up(_THE_BEGINNING)
        _waiting.set(await self._repository.backlog(self._pool))
        return count

    async def _roll_up(self, oldest_hour: datetime) -> int:
        count = 0
        while done := await self._roll_up_some(oldest_hour):
            count += done
        return count

    async def _roll_up_some(self, oldest_hour: datetime) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            hours = await self._repository.take_queued_hours(
                connection, oldest_hour=oldest_hour, account_limit=_ACCOUNTS_AT_ONCE
            )
            if hours:
                await self._repository.recompute_hours(connection, hours)
            return len(hours)

    async def close_hours(self) -> int:
        """Close some of the hours that are over and publish each, again where a late event has corrected it.

        One batch a run: hours of a backfill reach the broker at a steady pace instead of all at once.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            closed = await self._repository.close_hours(
                connection, grace_seconds=self._close_after_seconds, batch_size=_HOURS_AT_ONCE
            )
            if closed:
                await _publish(connection, closed)
            return len(closed)


async def _publish(connection: Connection, closed: list[dict[str, Any]]) -> None:
    await outbox.write(connection, *(UsageRecordedV1(**row) for row in closed), source=SOURCE)
