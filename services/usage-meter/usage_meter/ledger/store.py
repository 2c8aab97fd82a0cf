"""The ledger, its running sums and the open reservations in the database."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from jettythunder.database import Queries, Runner
from usage_meter.ledger.model import Entry, Hold, HoldKey, Kind, Reconciled, Resource, Totals
from usage_meter.ledger.thresholds import Gauge, Reading


@dataclass(frozen=True)
class LockedPeriod:
    """Accounts whose counters are locked until the transaction ends, and whose periods began together."""

    account_ids: Sequence[UUID]
    period_start: datetime
    period_is_over: bool
    now: datetime


@dataclass(frozen=True)
class BookedEntry:
    """The entry that was made for an event."""

    account_id: UUID
    resource: Resource
    kind: Kind
    used_delta_bytes: int
    reason: str | None
    author: str | None
    occurred_at: datetime


@dataclass(frozen=True)
class _Counters:
    account_id: UUID
    storage_quota_bytes: int
    storage_used_bytes: int
    storage_level: int
    storage_exceeded: bool
    bandwidth_quota_bytes: int
    bandwidth_used_bytes: int
    bandwidth_level: int
    bandwidth_exceeded: bool

    def gauges(self) -> Iterator[Gauge]:
        yield Gauge(
            account_id=self.account_id,
            resource=Resource.STORAGE,
            used_bytes=self.storage_used_bytes,
            quota_bytes=self.storage_quota_bytes,
            level_percent=self.storage_level,
            exceeded=self.storage_exceeded,
        )
        yield Gauge(
            account_id=self.account_id,
            resource=Resource.BANDWIDTH,
            used_bytes=self.bandwidth_used_bytes,
            quota_bytes=self.bandwidth_quota_bytes,
            level_percent=self.bandwidth_level,
            exceeded=self.bandwidth_exceeded,
        )


_queries = Queries("usage_meter.ledger")
_take_new = _queries.all("take_new", UUID)
_lock_accounts = _queries.all("lock_accounts", LockedPeriod)
_roll_periods = _queries.run("roll_periods")
_lock_adjustment = _queries.run("lock_adjustment")
_find_due_periods = _queries.all("find_due_periods", UUID)
_take_holds = _queries.all("take_holds", Hold)
_find_reconciled = _queries.all("find_reconciled", Reconciled)
_append_entries = _queries.run("append_entries")
_add_totals = _queries.all("add_totals", _Counters)
_note_readings = _queries.run("note_readings")
_find_expired_holds = _queries.all("find_expired_holds", Hold)
_take_expired_holds = _queries.all("take_expired_holds", Hold)
_fetch_entry = _queries.maybe("fetch_entry", BookedEntry)
_outbox_backlog = _queries.one("outbox_backlog", int)
_oldest_in_outbox = _queries.maybe("oldest_in_outbox", datetime)


class LedgerStore:
    """Reads and writes the ledger."""

    async def take_new(
        self, on: Runner, *, consumer: str, event_ids: Sequence[UUID], event_times: Sequence[datetime]
    ) -> list[UUID]:
        """Note events as processed; which of them are new.

        Raises:
            EventTooOld: one may have been processed before.
        """
        return await _take_new(on, consumer=consumer, event_ids=event_ids, event_times=event_times)

    async def lock_accounts(self, on: Runner, *, account_ids: Sequence[UUID]) -> list[LockedPeriod]:
        """Lock accounts' counters in the order of their ids."""
        return await _lock_accounts(on, account_ids=account_ids)

    async def roll_periods(self, on: Runner, *, account_ids: Sequence[UUID]) -> None:
        """Begin the current month for accounts whose period is over."""
        await _roll_periods(on, account_ids=account_ids)

    async def find_due_periods(self, on: Runner, *, batch_size: int) -> list[UUID]:
        """Accounts whose period is over, or was begun without announcing what that restores."""
        return await _find_due_periods(on, batch_size=batch_size)

    async def take_holds(self, on: Runner, *, keys: Sequence[HoldKey]) -> list[Hold]:
        """End reservations; those that there were."""
        return await _take_holds(
            on,
            ids=[key.id for key in keys],
            resources=[key.resource for key in keys],
            account_ids=[key.account_id for key in keys],
        )

    async def find_reconciled(self, on: Runner, *, asset_ids: Sequence[UUID]) -> list[Reconciled]:
        """Assets for which reconciliation has booked bytes, and what it booked."""
        return await _find_reconciled(on, asset_ids=asset_ids)

    async def find_expired_holds(
        self, on: Runner, *, booked_until: datetime, batch_size: int
    ) -> list[HoldKey]:
        """Reservations that no event will settle any more.

        Args:
            booked_until: events up to this time are booked; those after it may still settle a reservation.
        """
        holds = await _find_expired_holds(on, booked_until=booked_until, batch_size=batch_size)
        return [hold.key for hold in holds]

    async def take_expired_holds(self, on: Runner, *, keys: Sequence[HoldKey]) -> list[Hold]:
        """End those of the reservations that are still expired."""
        return await _take_expired_holds(
            on, ids=[key.id for key in keys], resources=[key.resource for key in keys]
        )

    async def append_entries(self, on: Runner, *, entries: Sequence[Entry]) -> None:
        """Append to the ledger, and queue the hours that change."""
        await _append_entries(on, **dict(zip(Entry._fields, zip(*entries, strict=True), strict=True)))

    async def add_totals(
        self, on: Runner, *, added: Mapping[UUID, Totals], lowest_percent: int
    ) -> list[Gauge]:
        """Add to the running sums; the gauges of accounts with one that may have to be announced after it.

        Args:
            lowest_percent: below this there is nothing to announce, unless something was before.
        """
        rows = await _add_totals(
            on,
            account_ids=list(added),
            storage_used=[t.storage_used_bytes for t in added.values()],
            storage_reserved=[t.storage_reserved_bytes for t in added.values()],
            bandwidth_used=[t.bandwidth_used_bytes for t in added.values()],
            bandwidth_reserved=[t.bandwidth_reserved_bytes for t in added.values()],
            requests=[t.request_count for t in added.values()],
            lowest_percent=lowest_percent,
        )
        return [gauge for row in rows for gauge in row.gauges()]

    async def note_readings(self, on: Runner, *, readings: Iterable[Reading]) -> None:
        """Remember what was announced of gauges last."""
        noted = list(readings)
        await _note_readings(
            on,
            account_ids=[r.gauge.account_id for r in noted],
            resources=[r.gauge.resource for r in noted],
            levels=[r.level_percent for r in noted],
            exceeded=[r.exceeded for r in noted],
        )

    async def lock_adjustment(self, on: Runner, *, adjustment_id: UUID) -> None:
        """Let one transaction at a time decide whether an adjustment was made before."""
        await _lock_adjustment(on, adjustment_id=str(adjustment_id))

    async def fetch_entry(
        self, on: Runner, *, source_event_id: str, resource: Resource
    ) -> BookedEntry | None:
        """The entry that was made for an event, if it was."""
        return await _fetch_entry(on, source_event_id=source_event_id, resource=resource)

    async def outbox_backlog(self, on: Runner, *, types: Sequence[str]) -> int:
        """How many events of some types are committed and not published yet."""
        return await _outbox_backlog(on, types=types)

    async def oldest_in_outbox(self, on: Runner, *, types: Sequence[str]) -> datetime | None:
        """When the oldest of those events was committed; None where there is none."""
        return await _oldest_in_outbox(on, types=types)
