"""The rules of metering: what a fact does to the ledger, and what a change of use is worth saying."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class Resource(StrEnum):
    """What is metered."""

    STORAGE = "storage"
    BANDWIDTH = "bandwidth"


class Kind(StrEnum):
    """What a ledger entry records. ``reserved`` entries are written by the database's reserve functions."""

    SETTLED = "settled"
    RELEASED = "released"
    REMOVED = "removed"
    ADJUSTMENT = "adjustment"


class FactKind(StrEnum):
    """What happened, as far as metering is concerned."""

    SETTLED = "settled"
    RELEASED = "released"
    REMOVED = "removed"
    QUOTA_CHANGED = "quota_changed"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something that happened to an account, from an event that is processed once."""

    event_id: UUID
    account_id: UUID
    occurred_at: datetime
    kind: FactKind
    resource: Resource = Resource.STORAGE
    used_bytes: int = 0
    reservation_id: UUID | None = None
    asset_id: UUID | None = None
    request_count: int = 0


@dataclass(frozen=True)
class HoldKey:
    """Names one reservation."""

    id: UUID
    resource: Resource
    account_id: UUID


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One line of the ledger."""

    account_id: UUID
    resource: Resource
    kind: Kind
    used_delta_bytes: int
    reserved_delta_bytes: int
    occurred_at: datetime
    source_event_id: str
    request_count: int = 0
    reservation_id: UUID | None = None
    asset_id: UUID | None = None
    reason: str | None = None
    author: str | None = None


def hold_key(fact: Fact) -> HoldKey | None:
    """The reservation that this fact ends, if it ends one."""
    if fact.reservation_id is None:
        return None
    return HoldKey(fact.reservation_id, fact.resource, fact.account_id)


def entries_for(facts: Iterable[Fact], held_bytes: dict[HoldKey, int], *, now: datetime) -> Iterator[Entry]:
    """The ledger entries of facts, in their order.

    A reservation ends once: its first fact takes all that is held, later ones find nothing. Bytes that were
    used are booked whether or not a reservation is left, because they are real. A fact from the future
    (a clock ahead of ours) is booked as of now, so that no period has entries before it begins.

    Args:
        held_bytes: what is held by the reservations that the facts end; emptied as they are taken.
    """
    for fact in facts:
        if fact.kind is FactKind.QUOTA_CHANGED:
            continue
        key = hold_key(fact)
        held = held_bytes.pop(key, 0) if key is not None else 0
        used_delta = -fact.used_bytes if fact.kind is FactKind.REMOVED else fact.used_bytes
        if held or used_delta or fact.request_count:
            yield Entry(
                account_id=fact.account_id,
                resource=fact.resource,
                kind=Kind(fact.kind),
                used_delta_bytes=used_delta,
                reserved_delta_bytes=-held,
                request_count=fact.request_count,
                occurred_at=min(fact.occurred_at, now),
                source_event_id=str(fact.event_id),
                reservation_id=fact.reservation_id,
                asset_id=fact.asset_id,
            )


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """A correction by a person or by reconciliation: who made it and why stays in the ledger.

    ``occurred_at`` None means now. The same id makes one entry.
    """

    id: UUID
    account_id: UUID
    resource: Resource
    used_delta_bytes: int
    reason: str
    author: str
    occurred_at: datetime | None = None
    asset_id: UUID | None = None

    def entry(self, *, now: datetime) -> Entry:
        """The line it adds to the ledger."""
        return Entry(
            account_id=self.account_id,
            resource=self.resource,
            kind=Kind.ADJUSTMENT,
            used_delta_bytes=self.used_delta_bytes,
            reserved_delta_bytes=0,
            occurred_at=min(self.occurred_at or now, now),
            source_event_id=str(self.id),
            asset_id=self.asset_id,
            reason=self.reason,
            author=self.author,
        )


@dataclass(kw_only=True)
class Totals:
    """What entries add to an account's counters."""

    storage_used_bytes: int = 0
    storage_reserved_bytes: int = 0
    bandwidth_used_bytes: int = 0
    bandwidth_reserved_bytes: int = 0
    request_count: int = 0

    def add(self, entry: Entry, *, period_start: datetime) -> None:
        """Count an entry. Sent bytes and requests of a period that is over are not the current one's."""
        is_current = entry.occurred_at >= period_start
        if entry.resource is Resource.STORAGE:
            self.storage_used_bytes += entry.used_delta_bytes
            self.storage_reserved_bytes += entry.reserved_delta_bytes
        else:
            self.bandwidth_used_bytes += entry.used_delta_bytes if is_current else 0
            self.bandwidth_reserved_bytes += entry.reserved_delta_bytes
        self.request_count += entry.request_count if is_current else 0


def totals(entries: Iterable[Entry], period_starts: dict[UUID, datetime]) -> dict[UUID, Totals]:
    """What entries add to each account, in the order of account ids."""
    found: dict[UUID, Totals] = {}
    for entry in entries:
        found.setdefault(entry.account_id, Totals()).add(entry, period_start=period_starts[entry.account_id])
    return {account_id: found[account_id] for account_id in sorted(found)}


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """How far one quota of an account is used, and what was said about it last."""

    account_id: UUID
    resource: Resource
    used_bytes: int
    quota_bytes: int
    level_percent: int
    exceeded: bool


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is to be said about a gauge now."""

    gauge: Gauge
    level_percent: int
    exceeded: bool
    crossed_percents: Sequence[int]

    @property
    def changed(self) -> bool:
        """Whether anything differs from what was said last."""
        return self.level_percent != self.gauge.level_percent or self.exceeded != self.gauge.exceeded


def read_gauge(gauge: Gauge, thresholds_percent: Sequence[int]) -> Reading:
    """Compare use with thresholds, which ascend; one is crossed when use reaches it from below.

    An account that uses nothing has reached nothing, also where its quota is 0.
    """
    used, quota = gauge.used_bytes * 100, gauge.quota_bytes
    reached = [t for t in thresholds_percent if used >= quota * t] if used > 0 else []
    return Reading(
        gauge=gauge,
        level_percent=reached[-1] if reached else 0,
        exceeded=0 < used >= quota * 100,
        crossed_percents=[t for t in reached if t > gauge.level_percent],
    )
