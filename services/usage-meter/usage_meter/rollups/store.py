"""The hourly rows, and the queue of those that are behind, in the database."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from jettythunder.database import Queries, Runner


@dataclass(frozen=True)
class QueuedHour:
    """From which hour on an account's rows are to be computed."""

    account_id: UUID
    hour: datetime


@dataclass(frozen=True)
class ClosedHour:
    """An hour's figures, when it is closed."""

    account_id: UUID
    storage_bytes: int
    bandwidth_bytes: int
    request_count: int
    period_start: datetime
    period_end: datetime
    revision: int


_queries = Queries("usage_meter.rollups")
_take_queued_hours = _queries.all("take_queued_hours", QueuedHour)
_recompute_hours = _queries.run("recompute_hours")
_queue_later_hours = _queries.run("queue_later_hours")
_close_hours = _queries.all("close_hours", ClosedHour)
_rollup_backlog = _queries.one("rollup_backlog", int)
_queue_hours_since = _queries.run("queue_hours_since")
_queue_all_hours = _queries.run("queue_all_hours")


class RollupStore:
    """Reads and writes hourly rows."""

    async def take_queued_hours(
        self, on: Runner, *, oldest_hour: datetime, account_limit: int
    ) -> list[QueuedHour]:
        """Take queued hours of some accounts; from which hour on to compute each."""
        return await _take_queued_hours(on, oldest_hour=oldest_hour, account_limit=account_limit)

    async def recompute_hours(self, on: Runner, *, hours: Sequence[QueuedHour], hour_limit: int) -> None:
        """Compute accounts' rows from the ledger, from an hour on for so many hours, and queue later ones."""
        given = {
            "account_ids": [each.account_id for each in hours],
            "from_hours": [each.hour for each in hours],
            "hour_limit": hour_limit,
        }
        await _recompute_hours(on, **given)
        await _queue_later_hours(on, **given)

    async def close_hours(self, on: Runner, *, grace_seconds: float, batch_size: int) -> list[ClosedHour]:
        """Close hours that are over; their figures."""
        return await _close_hours(on, grace_seconds=grace_seconds, batch_size=batch_size)

    async def backlog(self, on: Runner) -> int:
        """How many hours are queued."""
        return await _rollup_backlog(on)

    async def queue_hours_since(self, on: Runner, *, from_at: datetime) -> None:
        """Have the rows of all accounts computed again, from a time on."""
        await _queue_hours_since(on, from_at=from_at)

    async def queue_all_hours(self, on: Runner, *, account_id: UUID) -> None:
        """Have all rows of an account computed again."""
        await _queue_all_hours(on, account_id=account_id)
