"""Adjusting: corrections by people and by reconciliation."""

from jettythunder.database import Database
from jettythunder.errors import InvalidField
from usage_meter.ledger.book import Ledger
from usage_meter.ledger.model import Adjustment, Entry
from usage_meter.ledger.store import BookedEntry, LedgerStore


class Adjustments:
    """Corrects usage."""

    def __init__(self, database: Database, store: LedgerStore, ledger: Ledger) -> None:
        self._database = database
        self._store = store
        self._ledger = ledger

    async def adjust(self, adjustment: Adjustment) -> bool:
        """Correct an account's usage; False where the same adjustment was made before.

        Raises:
            AccountNotFound: there is no such account.
            InvalidField: the id was used for another adjustment.
        """
        async with self._database.transaction() as connection:
            accounts = await self._ledger.lock(connection, [adjustment.account_id])
            # The ledger's keys tell repetitions of one time, and an adjustment has that of its booking.
            await self._store.lock_adjustment(connection, adjustment_id=adjustment.id)
            before = await self._store.fetch_entry(
                connection, source_event_id=str(adjustment.id), resource=adjustment.resource
            )
            if before is None:
                key = adjustment.hold_key
                holds = await self._store.take_holds(connection, keys=[key]) if key is not None else []
                entry = adjustment.entry(now=accounts.now, held_bytes=sum(hold.held_bytes for hold in holds))
                await self._ledger.book(connection, [entry], accounts)
        if before is not None and not _is_same(before, adjustment.entry(now=accounts.now)):
            raise InvalidField(f"The id {adjustment.id} was used for another adjustment: take a new one.")
        return before is None


def _is_same(before: BookedEntry, entry: Entry) -> bool:
    return (before.account_id, before.kind, before.used_delta_bytes, before.reason, before.author) == (
        entry.account_id,
        entry.kind,
        entry.used_delta_bytes,
        entry.reason,
        entry.author,
    )
