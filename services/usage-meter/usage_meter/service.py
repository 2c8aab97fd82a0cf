"""Metering: facts become ledger entries, and the ledger's sums become what tenants are told.

Guarantees given here: a fact has its effect once, however often its event comes; entries, counters and
announcements of a batch are committed together; accounts are locked in the order of their ids, as everyone
does who locks more than one, so no two transactions wait for each other.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from uuid import UUID, uuid4

from prometheus_client import Counter

from jettythunder import outbox, telemetry
from jettythunder.contracts.envelope import Payload
from jettythunder.contracts.quota import QuotaExceededV1, QuotaRestoredV1, QuotaThresholdCrossedV1
from jettythunder.database import Connection, Pool
from jettythunder.errors import AccountNotFound, InvalidField
from usage_meter.domain import (
    Adjustment,
    Entry,
    Fact,
    Gauge,
    HoldKey,
    Kind,
    Reading,
    Totals,
    entries_for,
    hold_key,
    read_gauge,
    totals,
)
from usage_meter.messages import USAGE_METER_EVENTS
from usage_meter.repository import LedgerRepository, LockedAccount

log = telemetry.logger(__name__)

SOURCE = "/usage-meter"

_BATCH_SIZE = 500
_SAME_ADJUSTMENT = ("account_id", "kind", "used_delta_bytes", "reason", "author")

_facts = Counter("jettythunder_meter_facts_total", "Facts by what became of them", ["outcome"])
_swept = Counter(
    "jettythunder_meter_expired_holds_total", "Reservations released after their time", ["resource"]
)


class Meter:
    """Books facts."""

    def __init__(
        self, pool: Pool, repository: LedgerRepository, *, thresholds_percent: Sequence[int]
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._thresholds_percent = sorted(thresholds_percent)

    async def record(self, facts: Sequence[Fact]) -> None:
        """Book the facts that are new, all or none of them.

        Raises:
            AccountNotFound: one is about an account that is not there.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            new_ids = await self._repository.take_new(
                connection, consumer=USAGE_METER_EVENTS.name, event_ids=[fact.event_id for fact in facts]
            )
            new = list(_first_of_each(facts, new_ids))
            if new:
                accounts = await self._lock(connection, {fact.account_id for fact in new})
                keys = [key for key in map(hold_key, new) if key is not None]
                held = await self._repository.take_holds(connection, keys) if keys else {}
                await self.book(connection, list(entries_for(new, held, now=accounts[0].now)), accounts)
        _facts.labels("booked").inc(len(new))
        _facts.labels("duplicate").inc(len(facts) - len(new))

    async def book(
        self, connection: Connection, entries: Sequence[Entry], accounts: Sequence[LockedAccount]
    ) -> None:
        """Append entries, add them to their locked accounts' counters, and announce what that changes."""
        if entries:
            await self._repository.append_entries(connection, entries)
        added = {account.account_id: Totals() for account in accounts}
        added.update(totals(entries, {account.account_id: account.period_start for account in accounts}))
        await self._announce(connection, await self._repository.add_totals(connection, added))

    async def adjust(self, adjustment: Adjustment) -> bool:
        """Correct an account's usage; False where the same adjustment was made before.

        Raises:
            AccountNotFound: there is no such account.
            InvalidField: the id was used for another adjustment.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            accounts = await self._lock(connection, [adjustment.account_id])
            entry = adjustment.entry(now=accounts[0].now)
            before = await self._repository.fetch_entry(
                connection, source_event_id=entry.source_event_id, resource=entry.resource
            )
            if before is None:
                await self.book(connection, [entry], accounts)
        if before is not None and any(before[name] != getattr(entry, name) for name in _SAME_ADJUSTMENT):
            raise InvalidField(f"The id {adjustment.id} was used for another adjustment: take a new one.")
        return before is None

    async def sweep(self) -> int:
        """Release reservations that nobody will settle any more; how many were."""
        count = 0
        while released := await self._sweep_some():
            count += released
        return count

    async def _sweep_some(self) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            keys = await self._repository.find_expired_holds(connection, batch_size=_BATCH_SIZE)
            if not keys:
                return 0
            accounts = await self._lock(connection, {key.account_id for key in keys})
            held = await self._repository.take_expired_holds(connection, keys)
            await self.book(
                connection, [_expiry(key, size, accounts[0].now) for key, size in held.items()], accounts
            )
        for key in held:
            _swept.labels(key.resource).inc()
        log.info("expired reservations released", count=len(held), bytes=sum(held.values()))
        return len(held)

    async def begin_periods(self) -> int:
        """Begin the month for accounts whose period is over, and say what that restores; how many were."""
        count = 0
        while begun := await self._begin_some_periods():
            count += begun
        return count

    async def _begin_some_periods(self) -> int:
        async with self._pool.acquire() as connection, connection.transaction():
            due = await self._repository.find_due_periods(connection, batch_size=_BATCH_SIZE)
            if due:
                await self.book(connection, [], await self._lock(connection, due))
        return len(due)

    async def _lock(self, connection: Connection, account_ids: Iterable[UUID]) -> list[LockedAccount]:
        wanted = sorted(account_ids)
        accounts = await self._repository.lock_accounts(connection, wanted)
        if len(accounts) < len(wanted):
            missing = sorted(set(wanted) - {account.account_id for account in accounts})
            raise AccountNotFound(f"There is no account {missing[0]} to book on.")
        if any(account.period_is_over for account in accounts):
            await self._repository.roll_periods(connection, wanted)
            accounts = await self._repository.lock_accounts(connection, wanted)
        return accounts

    async def _announce(self, connection: Connection, gauges: Iterable[Gauge]) -> None:
        readings = [read_gauge(gauge, self._thresholds_percent) for gauge in gauges]
        changed = [reading for reading in readings if reading.changed]
        if not changed:
            return
        await self._repository.note_readings(connection, changed)
        payloads = [payload for reading in changed for payload in _announcements(reading)]
        if payloads:
            await outbox.write(connection, *payloads, source=SOURCE)


def _first_of_each(facts: Sequence[Fact], new_ids: set[UUID]) -> Iterator[Fact]:
    """The facts whose event is new, each once: a batch may hold the same event twice."""
    left = set(new_ids)
    for fact in facts:
        if fact.event_id in left:
            left.remove(fact.event_id)
            yield fact


def _expiry(key: HoldKey, held_bytes: int, now: datetime) -> Entry:
    return Entry(
        account_id=key.account_id,
        resource=key.resource,
        kind=Kind.RELEASED,
        used_delta_bytes=0,
        reserved_delta_bytes=-held_bytes,
        occurred_at=now,
        source_event_id=f"expired:{uuid4()}",
        reservation_id=key.id,
        reason="expired",
    )


def _announcements(reading: Reading) -> Iterator[Payload]:
    gauge = reading.gauge
    about = {
        "account_id": gauge.account_id,
        "resource": gauge.resource,
        "used_bytes": gauge.used_bytes,
        "quota_bytes": gauge.quota_bytes,
    }
    for percent in reading.crossed_percents:
        yield QuotaThresholdCrossedV1(**about, threshold_percent=percent)
    if reading.exceeded and not gauge.exceeded:
        yield QuotaExceededV1(**about)
    if gauge.exceeded and not reading.exceeded:
        yield QuotaRestoredV1(**about)
