"""The rules of the ledger: which entries facts make, and what entries add to an account's counters."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID

# Who adjusts where no person does.
RECONCILER = "usage-meter"


class Resource(StrEnum):
    """What is metered."""

    STORAGE = "storage"
    BANDWIDTH = "bandwidth"


class Kind(StrEnum):
    """What a ledger entry records. ``reserved`` entries are written by the database's reserve functions."""

    RESERVED = "reserved"
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


_BOOKED_AS = {
    FactKind.SETTLED: Kind.SETTLED,
    FactKind.RELEASED: Kind.RELEASED,
    FactKind.REMOVED: Kind.REMOVED,
}


# Keys, facts and entries are tuples, thousands a second: a frozen dataclass takes four times as long.
class HoldKey(NamedTuple):
    """Names one reservation."""

    id: UUID
    resource: Resource
    account_id: UUID


@dataclass(frozen=True)
class Hold:
    """A reservation, and the bytes it holds."""

    id: UUID
    resource: Resource
    account_id: UUID
    held_bytes: int

    @property
    def key(self) -> HoldKey:
        return HoldKey(self.id, self.resource, self.account_id)


class Fact(NamedTuple):
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

    @property
    def used_delta_bytes(self) -> int:
        """What it adds to the bytes used."""
        return -self.used_bytes if self.kind is FactKind.REMOVED else self.used_bytes

    @property
    def hold_key(self) -> HoldKey | None:
        """The reservation that it ends, if it ends one."""
        if self.reservation_id is None:
            return None
        return HoldKey(self.reservation_id, self.resource, self.account_id)


class Entry(NamedTuple):
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


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """A correction by a person or by reconciliation: who made it and why stays in the ledger.

    ``occurred_at`` None means now. The same id makes one entry. Where it stands for the lost event of an
    upload, ``reservation_id`` names the upload's hold, which ends with it.
    """

    id: UUID
    account_id: UUID
    resource: Resource
    used_delta_bytes: int
    reason: str
    author: str
    occurred_at: datetime | None = None
    asset_id: UUID | None = None
    reservation_id: UUID | None = None

    @property
    def hold_key(self) -> HoldKey | None:
        """The reservation that it ends, if it ends one."""
        if self.reservation_id is None:
            return None
        return HoldKey(self.reservation_id, self.resource, self.account_id)

    def entry(self, *, now: datetime, held_bytes: int = 0) -> Entry:
        """The line it adds to the ledger."""
        return Entry(
            account_id=self.account_id,
            resource=self.resource,
            kind=Kind.ADJUSTMENT,
            used_delta_bytes=self.used_delta_bytes,
            reserved_delta_bytes=-held_bytes,
            occurred_at=min(self.occurred_at or now, now),
            source_event_id=str(self.id),
            reservation_id=self.reservation_id,
            asset_id=self.asset_id,
            reason=self.reason,
            author=self.author,
        )


@dataclass(frozen=True)
class Reconciled:
    """What reconciliation's adjustments of an asset add up to, and when the last one counts."""

    asset_id: UUID
    used_bytes: int
    occurred_at: datetime


def first_of_each(facts: Iterable[Fact], event_ids: Iterable[UUID]) -> Iterator[Fact]:
    """The facts of these events, each once: a batch may hold the same event twice."""
    left = set(event_ids)
    for fact in facts:
        if fact.event_id in left:
            left.remove(fact.event_id)
            yield fact


def entries_for(facts: Iterable[Fact], holds: Iterable[Hold], *, now: datetime) -> Iterator[Entry]:
    """The ledger entries of facts, in their order.

    A reservation ends once: its first fact takes all that is held, later ones find nothing. Bytes that were
    used are booked whether or not a reservation is left, because they are real. A fact from the future
    (a clock ahead of ours) is booked as of now, so that no period has entries before it begins.

    Args:
        holds: the reservations that the facts end.
    """
    held_bytes: dict[HoldKey | None, int] = {hold.key: hold.held_bytes for hold in holds}
    for fact in facts:
        if fact.kind is FactKind.QUOTA_CHANGED:
            continue
        held = held_bytes.pop(fact.hold_key, 0) if held_bytes else 0
        used_delta_bytes = fact.used_delta_bytes
        if held or used_delta_bytes or fact.request_count:
            yield Entry(
                account_id=fact.account_id,
                resource=fact.resource,
                kind=_BOOKED_AS[fact.kind],
                used_delta_bytes=used_delta_bytes,
                reserved_delta_bytes=-held,
                request_count=fact.request_count,
                occurred_at=min(fact.occurred_at, now),
                source_event_id=str(fact.event_id),
                reservation_id=fact.reservation_id,
                asset_id=fact.asset_id,
            )


def reversals(facts: Iterable[Fact], reconciled: Iterable[Reconciled]) -> Iterator[Entry]:
    """The entries that take adjustments back whose event has come after all.

    Reconciliation books what the lost event of an asset would have booked. Where that event comes later,
    delayed or replayed, it counts, and the adjustment in its place does not.
    """
    adjusted: dict[UUID | None, Reconciled] = {each.asset_id: each for each in reconciled}
    for fact in facts if adjusted else ():
        instead = adjusted.get(fact.asset_id) if is_about_stored_bytes(fact) else None
        if instead is not None and instead.used_bytes == fact.used_delta_bytes:
            del adjusted[instead.asset_id]
            yield Entry(
                account_id=fact.account_id,
                resource=Resource.STORAGE,
                kind=Kind.ADJUSTMENT,
                used_delta_bytes=-fact.used_delta_bytes,
                reserved_delta_bytes=0,
                occurred_at=instead.occurred_at,
                source_event_id=f"reversed:{fact.event_id}",
                asset_id=fact.asset_id,
                reason="reconciled: the event that was adjusted for came after all",
                author=RECONCILER,
            )


def is_about_stored_bytes(fact: Fact) -> bool:
    """Whether it changes what an asset stores."""
    return fact.resource is Resource.STORAGE and fact.asset_id is not None and fact.used_bytes > 0


def expired_release(hold: Hold, *, now: datetime, source_id: UUID) -> Entry:
    """The entry of a reservation that was not settled in its time."""
    return _release(hold, now=now, source_event_id=f"expired:{source_id}", reason="expired")


def reconciled_release(hold: Hold, *, now: datetime, source_id: UUID) -> Entry:
    """The entry of a reservation whose upload was completed and whose event is lost."""
    reason = "reconciled: the event of the completed upload is lost"
    return _release(hold, now=now, source_event_id=f"reconciled:{source_id}", reason=reason)


def _release(hold: Hold, *, now: datetime, source_event_id: str, reason: str) -> Entry:
    return Entry(
        account_id=hold.account_id,
        resource=hold.resource,
        kind=Kind.RELEASED,
        used_delta_bytes=0,
        reserved_delta_bytes=-hold.held_bytes,
        occurred_at=now,
        source_event_id=source_event_id,
        reservation_id=hold.id,
        reason=reason,
    )


@dataclass(kw_only=True, slots=True)
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


def totals(entries: Iterable[Entry], period_starts: Mapping[UUID, datetime]) -> dict[UUID, Totals]:
    """What entries add to accounts, in the order of account ids; nothing where there is no entry.

    Args:
        period_starts: when the accounts' periods began.
    """
    found = {account_id: Totals() for account_id in in_order(period_starts)}
    for entry in entries:
        found[entry.account_id].add(entry, period_start=period_starts[entry.account_id])
    return found


def in_order(ids: Iterable[UUID]) -> list[UUID]:
    """Ids in their order, which is the database's; comparing them as numbers is ten times as fast."""
    return sorted(ids, key=attrgetter("int"))
