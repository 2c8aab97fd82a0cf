"""The hourly rows, and the queue of those that are behind, in the database."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from jettythunder.database import Queries, Runner


@dataclass(frozen=True)
class QueuedHour:
    """From which hour on an account's rows are to be computed."""

    account_id: UUID
    hour: datetime


@dataclass(frozen=True)
class EndedHour:
    """An hour that is over and not closed."""

    account_id: UUID
    period_start: datetime
    period_end: datetime


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


_BEGINNING = datetime(1, 1, 2, tzinfo=UTC)

_queries = Queries("usage_meter.rollups")
_recent_accounts = _queries.all("recent_accounts", UUID)
_waiting_accounts = _queries.all("waiting_accounts", UUID)
_take_queued_hours = _queries.all("take_queued_hours", QueuedHour)
_recompute_hours = _queries.run("recompute_hours")
_postpone_hours = _queries.run("postpone_hours")
_queue_later_hours = _queries.run("queue_later_hours")
_read_in_order = _queries.run("read_in_order")
_list_ended_hours = _queries.all("list_ended_hours", EndedHour)
_close_hours = _queries.all("close_hours", ClosedHour)
_rollup_backlog = _queries.one("rollup_backlog", int)
_queue_hours_since = _queries.run("queue_hours_since")
_queue_all_hours = _queries.run("queue_all_hours")


class RollupStore:
    """Reads and writes hourly rows."""

    async def take_recent_hours(
        self, on: Runner, *, oldest_hour: datetime, but_of: Collection[UUID], entry_limit: int
    ) -> list[QueuedHour]:
        """Take queued hours since one of some other accounts; from which hour on to compute each."""
        accounts = await _recent_accounts(
            on, oldest_hour=oldest_hour, but_of=list(but_of), entry_limit=entry_limit
        )
        return await _take(on, accounts, oldest_hour)

    async def take_waiting_hours(self, on: Runner, *, entry_limit: int) -> list[QueuedHour]:
        """Take all queued hours of the accounts that wait longest; from which hour on to compute each."""
        return await _take(on, await _waiting_accounts(on, entry_limit=entry_limit), _BEGINNING)

    async def postpone(self, on: Runner, *, account_id: UUID) -> None:
        """Have an account's queued hours wait until all others are taken."""
        await _postpone_hours(on, account_id=account_id)

    async def recompute_hours(self, on: Runner, *, hours: Sequence[QueuedHour], hour_limit: int) -> None:
        """Compute accounts' rows from the ledger, from an hour on for so many hours, and queue later ones."""
        given = {
            "account_ids": [each.account_id for each in hours],
            "from_hours": [each.hour for each in hours],
            "hour_limit": hour_limit,
        }
        await _recompute_hours(on, **given)
        await _queue_later_hours(on, **given)

    async def ended_hours(
        self, on: Runner, *, grace_seconds: float, after: EndedHour | None, batch_size: int
    ) -> list[EndedHour]:
        """Some hours that are over and not closed, in the order of their ends and accounts, after one."""
        await _read_in_order(on)
        return await _list_ended_hours(
            on,
            grace_seconds=grace_seconds,
            after_end=after.period_end if after else _BEGINNING,
            after_account=after.account_id if after else UUID(int=0),
            batch_size=batch_size,
        )

    async def close_hours(self, on: Runner, *, hours: Sequence[EndedHour]) -> list[ClosedHour]:
        """Close those of the hours that the roll-up has computed; their figures."""
        return await _close_hours(
            on,
            account_ids=[hour.account_id for hour in hours],
            period_starts=[hour.period_start for hour in hours],
        )

    async def backlog(self, on: Runner) -> int:
        """How many hours are queued."""
        return await _rollup_backlog(on)

    async def queue_hours_since(self, on: Runner, *, from_at: datetime) -> None:
        """Have the rows of all accounts computed again, from a time on."""
        await _queue_hours_since(on, from_at=from_at)

    async def queue_all_hours(self, on: Runner, *, account_id: UUID) -> None:
        """Have all rows of an account computed again."""
        await _queue_all_hours(on, account_id=account_id)


async def _take(on: Runner, account_ids: Sequence[UUID], oldest_hour: datetime) -> list[QueuedHour]:
    if not account_ids:
        return []
    return await _take_queued_hours(on, account_ids=account_ids, oldest_hour=oldest_hour)
