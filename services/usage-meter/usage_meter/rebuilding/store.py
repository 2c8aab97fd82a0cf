"""What the ledger says, for a comparison with the event log."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from jettythunder.database import Queries, Runner
from usage_meter.rebuilding.model import LedgerSum

_queries = Queries("usage_meter.rebuilding")
_clock = _queries.one("clock", datetime)
_known_events = _queries.all("known_events", UUID)
_ledger_sums = _queries.all("ledger_sums", LedgerSum)
_accounts_beyond_log = _queries.all("accounts_beyond_log", UUID)


class RebuildingStore:
    """Reads the ledger."""

    async def clock(self, on: Runner) -> datetime:
        """The database's time."""
        return await _clock(on)

    async def known_events(self, on: Runner, *, consumer: str, event_ids: Sequence[UUID]) -> list[UUID]:
        """Which of the events a consumer has processed."""
        return await _known_events(on, consumer=consumer, event_ids=event_ids)

    async def ledger_sums(
        self, on: Runner, *, account_id: UUID | None, event_ids: Sequence[UUID], began_at: datetime
    ) -> list[LedgerSum]:
        """Used bytes from what was booked before a moment, or comes from one of these events."""
        return await _ledger_sums(
            on, account_id=account_id, event_ids=list(map(str, event_ids)), began_at=began_at
        )

    async def accounts_beyond_log(
        self, on: Runner, *, account_id: UUID | None, event_ids: Sequence[UUID], began_at: datetime
    ) -> list[UUID]:
        """Accounts with used bytes from events that have left the log."""
        return await _accounts_beyond_log(
            on, account_id=account_id, event_ids=list(map(str, event_ids)), began_at=began_at
        )
