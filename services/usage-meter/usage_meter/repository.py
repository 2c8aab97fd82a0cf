"""The usage-meter's tables: one method per named query."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from jettythunder.database import Connection, Pool, queries
from usage_meter.domain import Entry, Gauge, HoldKey, Reading, Resource, Totals

_queries = queries("usage_meter")


@dataclass(frozen=True)
class LockedAccount:
    """An account whose counters are ours until the transaction ends."""

    account_id: UUID
    period_start: datetime
    period_is_over: bool
    now: datetime


class LedgerRepository:
    """The ledger, its running sums and the open reservations."""

    async def take_new(
        self, connection: Connection, *, consumer: str, event_ids: Sequence[UUID]
    ) -> set[UUID]:
        """Note events as processed; which of them are new."""
        found = _queries.take_new(connection, consumer=consumer, event_ids=event_ids)
        return {row["event_id"] async for row in found}

    async def lock_accounts(self, connection: Connection, account_ids: Iterable[UUID]) -> list[LockedAccount]:
        """Lock accounts' counters in the order of their ids."""
        found = _queries.lock_accounts(connection, account_ids=list(account_ids))
        return [LockedAccount(**row) async for row in found]

    async def roll_periods(self, connection: Connection, account_ids: Iterable[UUID]) -> list[UUID]:
        """Begin the current month for accounts whose period is over; which they were."""
        found = _queries.roll_periods(connection, account_ids=list(account_ids))
        return [row["account_id"] async for row in found]

    async def take_holds(self, connection: Connection, keys: Sequence[HoldKey]) -> dict[HoldKey, int]:
        """End reservations; what each of them held, in bytes."""
        return await _held(
            _queries.take_holds(
                connection,
                ids=[key.id for key in keys],
                resources=[key.resource for key in keys],
                account_ids=[key.account_id for key in keys],
            )
        )

    async def find_expired_holds(self, connection: Connection, *, batch_size: int) -> list[HoldKey]:
        """Reservations that nobody will settle any more."""
        found = _queries.find_expired_holds(connection, batch_size=batch_size)
        return [_hold_key(row) async for row in found]

    async def take_expired_holds(self, connection: Connection, keys: Sequence[HoldKey]) -> dict[HoldKey, int]:
        """End reservations that are still expired; what each of them held, in bytes."""
        return await _held(
            _queries.take_expired_holds(
                connection, ids=[key.id for key in keys], resources=[key.resource for key in keys]
            )
        )

    async def append_entries(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Append to the ledger, and queue the hours that change."""
        await _queries.append_entries(
            connection,
            account_ids=[e.account_id for e in entries],
            resources=[e.resource for e in entries],
            kinds=[e.kind for e in entries],
            used_deltas=[e.used_delta_bytes for e in entries],
            reserved_deltas=[e.reserved_delta_bytes for e in entries],
            request_counts=[e.request_count for e in entries],
            source_event_ids=[e.source_event_id for e in entries],
            reservation_ids=[e.reservation_id for e in entries],
            asset_ids=[e.asset_id for e in entries],
            occurred_ats=[e.occurred_at for e in entries],
            reasons=[e.reason for e in entries],
            authors=[e.author for e in entries],
        )

    async def add_totals(self, connection: Connection, added: Mapping[UUID, Totals]) -> list[Gauge]:
        """Add to the running sums; the gauges of the accounts after it."""
        found = _queries.add_totals(
            connection,
            account_ids=list(added),
            storage_used=[t.storage_used_bytes for t in added.values()],
            storage_reserved=[t.storage_reserved_bytes for t in added.values()],
            bandwidth_used=[t.bandwidth_used_bytes for t in added.values()],
            bandwidth_reserved=[t.bandwidth_reserved_bytes for t in added.values()],
            requests=[t.request_count for t in added.values()],
        )
        return [gauge async for row in found for gauge in _gauges(row)]

    async def note_readings(self, connection: Connection, readings: Sequence[Reading]) -> None:
        """Remember what is said about gauges now."""
        await _queries.note_readings(
            connection,
            account_ids=[r.gauge.account_id for r in readings],
            resources=[r.gauge.resource for r in readings],
            levels=[r.level_percent for r in readings],
            exceeded=[r.exceeded for r in readings],
        )


async def _held(rows: Any) -> dict[HoldKey, int]:
    return {_hold_key(row): int(row["held_bytes"]) async for row in rows}


def _hold_key(row: Mapping[str, Any]) -> HoldKey:
    return HoldKey(row["id"], Resource(row["resource"]), row["account_id"])


def _gauges(row: Mapping[str, Any]) -> Iterable[Gauge]:
    for resource in Resource:
        yield Gauge(
            account_id=row["account_id"],
            resource=resource,
            used_bytes=row[f"{resource}_used_bytes"],
            quota_bytes=row[f"{resource}_quota_bytes"],
            level_percent=row[f"{resource}_level"],
            exceeded=row[f"{resource}_exceeded"],
        )


class RollupRepository:
    """The hourly rows and the queue of those that are behind."""

    async def take_queued_hours(
        self, connection: Connection, *, oldest_hour: datetime, account_limit: int
    ) -> dict[UUID, datetime]:
        """Take queued hours of some accounts; from which hour on to recompute each."""
        found = _queries.take_queued_hours(connection, oldest_hour=oldest_hour, account_limit=account_limit)
        return {row["account_id"]: row["hour"] async for row in found}

    async def recompute_hours(self, connection: Connection, hours: Mapping[UUID, datetime]) -> None:
        """Compute accounts' rows from the ledger, from an hour on."""
        await _queries.recompute_hours(connection, account_ids=list(hours), from_hours=list(hours.values()))

    async def close_hours(
        self, connection: Connection, *, grace_seconds: float, batch_size: int
    ) -> list[dict[str, Any]]:
        """Close hours that are over; their figures."""
        found = _queries.close_hours(connection, grace_seconds=grace_seconds, batch_size=batch_size)
        return [dict(row) async for row in found]

    async def backlog(self, pool: Pool) -> int:
        """How many hours are queued."""
        return int(await _queries.rollup_backlog(pool))
