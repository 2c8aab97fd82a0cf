"""The usage-meter's tables: one method per named query."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from jettythunder.database import Connection, Pool, Runner, queries
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

    async def find_due_periods(self, connection: Connection, *, batch_size: int) -> list[UUID]:
        """Accounts whose period is over, or was begun without saying what that restores."""
        found = _queries.find_due_periods(connection, batch_size=batch_size)
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

    async def fetch_entry(
        self, connection: Connection, *, source_event_id: str, resource: Resource
    ) -> dict[str, Any] | None:
        """The entry that was made for an event, if it was."""
        row = await _queries.fetch_entry(connection, source_event_id=source_event_id, resource=resource)
        return None if row is None else dict(row)

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


@dataclass(frozen=True)
class Account:
    """An account, as far as metering names it."""

    id: UUID
    agentcache_user_id: str
    s3_prefix: str


class AccountRepository:
    """Accounts, read only: they are provisioning's."""

    async def user_of(self, on: Runner, account_id: UUID) -> str | None:
        """The id of an account's user, as AgentCache gave it."""
        found: str | None = await _queries.user_of(on, account_id=account_id)
        return found

    async def find(self, on: Runner, name: str) -> Account | None:
        """An account by its id or its user's."""
        row = await _queries.find_account(on, name=name)
        return None if row is None else _account(row)

    async def page(self, on: Runner, *, after: UUID | None, page_size: int) -> list[Account]:
        """Accounts in the order of their ids, those after one."""
        return [_account(row) async for row in _queries.list_accounts(on, after=after, page_size=page_size)]


def _account(row: Mapping[str, Any]) -> Account:
    return Account(row["id"], row["agentcache_user_ref"], row["s3_prefix"])


class ReportRepository:
    """What is read for people and bills."""

    async def quotas(self, on: Runner, account_ids: Sequence[UUID]) -> list[dict[str, Any]]:
        """The quota answers of accounts."""
        return [dict(row) async for row in _queries.list_quotas(on, account_ids=account_ids)]

    async def entries(
        self, on: Runner, *, account_id: UUID, before: int | None, page_size: int
    ) -> list[dict[str, Any]]:
        """An account's ledger, the newest first."""
        found = _queries.list_entries(on, account_id=account_id, before=before, page_size=page_size)
        return [dict(row) async for row in found]

    async def rows(
        self,
        connection: Connection,
        *,
        bucket: str,
        from_at: datetime,
        to_at: datetime,
        account_id: UUID | None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Usage per account and hour, day or month, read as it is taken."""
        async with _queries.report_cursor(
            connection, bucket=bucket, from_at=from_at, to_at=to_at, account_id=account_id
        ) as found:
            async for row in found:
                yield dict(row)

    async def prices(self, on: Runner) -> list[dict[str, Any]]:
        """All prices, the newest first."""
        return [dict(row) async for row in _queries.list_prices(on)]

    async def set_price(
        self,
        connection: Connection,
        *,
        resource: Resource,
        effective_from: datetime,
        usd_per_gb: Decimal,
        source: str,
    ) -> None:
        """Set a price and have what it prices computed again."""
        await _queries.set_price(
            connection,
            resource=resource,
            effective_from=effective_from,
            usd_per_gb=usd_per_gb,
            source=source,
        )
        await _queries.queue_hours_since(connection, from_at=effective_from)


class ReconciliationRepository:
    """What the database knows of stored bytes, from each side."""

    async def sources(self, connection: Connection, account_id: UUID) -> dict[str, int]:
        """An account's counters, its ledger's sums and its open holds."""
        row = await _queries.bytes_by_source(connection, account_id=account_id)
        return dict(row)

    async def known_objects(
        self, connection: Connection, account: Account, bucket: str
    ) -> list[dict[str, Any]]:
        """The objects that assets, open uploads and wanted deletions account for."""
        found = _queries.list_known_objects(
            connection, account_id=account.id, bucket=bucket, prefix=account.s3_prefix
        )
        return [dict(row) async for row in found]

    async def ledger_drift(self, connection: Connection, account_id: UUID) -> list[dict[str, Any]]:
        """Assets whose ledger entries don't add up to their size."""
        return [dict(row) async for row in _queries.list_ledger_drift(connection, account_id=account_id)]

    async def without_account(self, on: Runner, account_ids: Sequence[UUID]) -> list[UUID]:
        """Which of these are no accounts."""
        return [row["account_id"] async for row in _queries.without_account(on, account_ids=account_ids)]

    async def booked_bytes(self, on: Runner, account_id: UUID) -> int:
        """What an account stores by its ledger, also where the account is gone."""
        return int(await _queries.booked_bytes(on, account_id=account_id))

    async def is_in_ledger(self, on: Runner, account_id: UUID) -> bool:
        """Whether anything was ever booked for an account."""
        return bool(await _queries.is_in_ledger(on, account_id=account_id))

    async def want_deleted(self, on: Runner, *, bucket: str, keys: Sequence[str]) -> None:
        """Ask the gateway's housekeeping to delete objects."""
        await _queries.want_deleted(on, s3_bucket=bucket, s3_keys=keys)

    async def restore_counters(
        self, connection: Connection, account_id: UUID, sources: Mapping[str, int]
    ) -> None:
        """Set a locked account's counters to its ledger's sums."""
        await _queries.restore_counters(
            connection,
            account_id=account_id,
            storage_used=sources["ledger_bytes"],
            storage_reserved=sources["ledger_reserved_bytes"],
            bandwidth_used=sources["ledger_bandwidth_bytes"],
            bandwidth_reserved=sources["ledger_bandwidth_reserved_bytes"],
            requests=sources["ledger_request_count"],
        )

    async def outbox_backlog(self, on: Runner, types: Sequence[str]) -> int:
        """How many events of some types are committed and not published yet."""
        return int(await _queries.outbox_backlog(on, types=types))
