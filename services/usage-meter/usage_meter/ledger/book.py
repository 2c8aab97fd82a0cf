"""Booking: facts become ledger entries, and the ledger's sums become announcements.

Guarantees given here: a fact has its effect once, however often its event comes; entries, counters and
announcements of a batch are committed together; accounts are locked in the order of their ids, as everyone
does who locks more than one, so no two transactions wait for each other.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from prometheus_client import Counter

from jettythunder import outbox
from jettythunder.database import Connection, Database
from jettythunder.errors import AccountNotFound
from usage_meter.ledger.model import (
    Entry,
    Fact,
    entries_for,
    first_of_each,
    in_order,
    is_about_stored_bytes,
    reversals,
    totals,
)
from usage_meter.ledger.store import LedgerStore, LockedPeriod
from usage_meter.ledger.thresholds import Gauge, announcements, lowest_percent, read_gauge
from usage_meter.messages import SOURCE, USAGE_METER_EVENTS

_facts = Counter("jettythunder_meter_facts_total", "Facts by what became of them", ["outcome"])


class LockedAccounts:
    """Accounts whose counters are locked until the transaction ends."""

    def __init__(self, periods: Sequence[LockedPeriod]) -> None:
        self._periods = periods
        self.period_starts = {
            account_id: period.period_start for period in periods for account_id in period.account_ids
        }

    @property
    def now(self) -> datetime:
        """When the transaction began."""
        return self._periods[0].now

    @property
    def period_is_over(self) -> bool:
        """Whether a month has begun since the period of any."""
        return any(period.period_is_over for period in self._periods)


class Ledger:
    """Books on accounts."""

    def __init__(self, database: Database, store: LedgerStore, *, thresholds_percent: Sequence[int]) -> None:
        self._database = database
        self._store = store
        self._thresholds_percent = sorted(thresholds_percent)
        self._newest_booked_at: datetime | None = None

    @property
    def newest_booked_at(self) -> datetime | None:
        """When the newest event of the last batch of this process happened; None before the first batch."""
        return self._newest_booked_at

    async def record(self, facts: Sequence[Fact]) -> None:
        """Book the facts that are new, all or none of them.

        Raises:
            AccountNotFound: one is about an account that is not there.
            EventTooOld: one may have been booked before.
        """
        async with self._database.transaction() as connection:
            new_ids = await self._store.take_new(
                connection,
                consumer=USAGE_METER_EVENTS.name,
                event_ids=[fact.event_id for fact in facts],
                event_times=[fact.occurred_at for fact in facts],
            )
            new = list(first_of_each(facts, new_ids))
            if new:
                await self._record_new(connection, new)
        self._newest_booked_at = max(fact.occurred_at for fact in facts)
        _facts.labels("booked").inc(len(new))
        _facts.labels("duplicate").inc(len(facts) - len(new))

    async def _record_new(self, on: Connection, facts: Sequence[Fact]) -> None:
        accounts = await self.lock(on, {fact.account_id for fact in facts})
        keys = [key for fact in facts if (key := fact.hold_key) is not None]
        holds = await self._store.take_holds(on, keys=keys) if keys else []
        assets = [fact.asset_id for fact in facts if fact.asset_id and is_about_stored_bytes(fact)]
        reconciled = await self._store.find_reconciled(on, asset_ids=assets) if assets else []
        entries = [*entries_for(facts, holds, now=accounts.now), *reversals(facts, reconciled)]
        await self.book(on, entries, accounts)

    async def lock(self, on: Connection, account_ids: Iterable[UUID]) -> LockedAccounts:
        """Lock the counters of accounts until the transaction ends, and begin periods that are due.

        Raises:
            AccountNotFound: one is not there.
        """
        wanted = in_order(account_ids)
        accounts = LockedAccounts(await self._store.lock_accounts(on, account_ids=wanted))
        missing = [each for each in wanted if each not in accounts.period_starts]
        if missing:
            raise AccountNotFound(f"There is no account {missing[0]} to book on.")
        if accounts.period_is_over:
            await self._store.roll_periods(on, account_ids=wanted)
            accounts = LockedAccounts(await self._store.lock_accounts(on, account_ids=wanted))
        return accounts

    async def book(self, on: Connection, entries: Sequence[Entry], accounts: LockedAccounts) -> None:
        """Append entries, add them to their locked accounts' counters, and announce what that changes."""
        if entries:
            await self._store.append_entries(on, entries=entries)
        gauges = await self._store.add_totals(
            on,
            added=totals(entries, accounts.period_starts),
            lowest_percent=lowest_percent(self._thresholds_percent),
        )
        await self._announce(on, gauges)

    async def _announce(self, on: Connection, gauges: Iterable[Gauge]) -> None:
        readings = [read_gauge(gauge, self._thresholds_percent) for gauge in gauges]
        changed = [reading for reading in readings if reading.changed]
        if not changed:
            return
        await self._store.note_readings(on, readings=changed)
        payloads = [payload for reading in changed for payload in announcements(reading)]
        if payloads:
            await outbox.write(on, *payloads, source=SOURCE)
