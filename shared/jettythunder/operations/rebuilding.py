"""Usage computed anew from the event log alone, beside the ledger, to see whether the two agree.

Nothing is changed: the shadow lives in memory. What the log no longer holds can't be computed, so an account
whose beginning has left the log is reported as not comparable rather than as different.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from jettythunder.broker.event_log import EventFilter, EventLog
from jettythunder.contracts.accounts import AccountProvisionedV1
from jettythunder.contracts.assets import AssetDeletedV1, AssetDownloadedV1, AssetStreamedV1
from jettythunder.contracts.envelope import Payload, RawEvent
from jettythunder.contracts.uploads import UploadCompletedV1
from jettythunder.database import Pool, queries
from jettythunder.operations.replay import find_events

_queries = queries("jettythunder.operations")

# The consumer that books events into the ledger.
_CONSUMER = "usage-meter.events"

_METERED: tuple[type[Payload], ...] = (
    UploadCompletedV1,
    AssetDeletedV1,
    AssetDownloadedV1,
    AssetStreamedV1,
    AccountProvisionedV1,
)


@dataclass
class _Shadow:
    """An account's use as the log tells it."""

    storage_bytes: int = 0
    bandwidth_bytes_by_month: dict[datetime, int] = field(default_factory=lambda: defaultdict(int))
    is_whole: bool = False


class MonthDifference(BaseModel):
    """Bytes sent in a month (UTC)."""

    month: datetime
    log_bytes: int
    ledger_bytes: int


class AccountDifference(BaseModel):
    """What the log and the ledger say of an account; where they agree there is no difference.

    Adjustments are made by people and are in no event, so the ledger is compared without them;
    ``adjusted_bytes`` shows what they add to storage.
    """

    account_id: UUID
    log_storage_bytes: int
    ledger_storage_bytes: int
    adjusted_bytes: int
    months: list[MonthDifference]
    is_comparable: bool

    @property
    def differs(self) -> bool:
        """Whether the two disagree, as far as they can be compared."""
        stored = self.log_storage_bytes != self.ledger_storage_bytes
        sent = any(month.log_bytes != month.ledger_bytes for month in self.months)
        return self.is_comparable and (stored or sent)


class Rebuilt(BaseModel):
    """The outcome: every account's figures, and how many events they were computed from."""

    events: int
    pending_events: int  # in the log and not booked yet
    accounts: list[AccountDifference]

    @property
    def differing(self) -> list[AccountDifference]:
        return [account for account in self.accounts if account.differs]


async def rebuild_usage(pool: Pool, log: EventLog, *, account_id: UUID | None = None) -> Rebuilt:
    """Compute used bytes from the log, of one account or of all, and set them beside the ledger's.

    The ledger is read after the log. Events that it has not booked yet are left out, and so are entries that
    were booked since the reading began and whose event came too late for it: a system at work shows no false
    differences.
    """
    began_at = await pool.fetchval("SELECT clock_timestamp()")
    wanted = EventFilter(
        types=tuple(payload.TYPE for payload in _METERED), account=str(account_id) if account_id else None
    )
    events: dict[UUID, RawEvent] = {}
    async for logged in find_events(log, wanted):
        if logged.event is not None:
            events.setdefault(logged.event.id, logged.event)
    async with (
        pool.acquire() as connection,
        connection.transaction(isolation="repeatable_read", readonly=True),
    ):
        known = {
            row["event_id"]
            async for row in _queries.known_events(connection, consumer=_CONSUMER, event_ids=list(events))
        }
        asked = {"account_id": account_id, "event_ids": list(map(str, events)), "began_at": began_at}
        sums = [row async for row in _queries.ledger_sums(connection, **asked)]
        beyond = {row["account_id"] async for row in _queries.accounts_beyond_log(connection, **asked)}
    shadows = _compute(event for event_id, event in events.items() if event_id in known)
    return Rebuilt(
        events=len(events),
        pending_events=len(events.keys() - known),
        accounts=_compare(shadows, sums, beyond),
    )


def _compute(events: Any) -> dict[UUID, _Shadow]:
    shadows: dict[UUID, _Shadow] = defaultdict(_Shadow)
    for event in events:
        account_id = UUID(str(event.data["account_id"]))
        shadow = shadows[account_id]
        if event.type == UploadCompletedV1.TYPE:
            shadow.storage_bytes += int(event.data["stored_bytes"])
        elif event.type == AssetDeletedV1.TYPE:
            shadow.storage_bytes -= int(event.data["size_bytes"])
        elif event.type == AccountProvisionedV1.TYPE:
            shadow.is_whole = True
        else:
            sent = event.data["size_bytes" if event.type == AssetDownloadedV1.TYPE else "sent_bytes"]
            shadow.bandwidth_bytes_by_month[_month(event.time)] += int(sent)
    return shadows


def _compare(shadows: dict[UUID, _Shadow], sums: list[Any], beyond: set[UUID]) -> list[AccountDifference]:
    stored: dict[UUID, tuple[int, int]] = {}
    sent: dict[UUID, dict[datetime, int]] = defaultdict(dict)
    for row in sums:
        if row["resource"] == "storage":
            before = stored.get(row["account_id"], (0, 0))
            stored[row["account_id"]] = (
                before[0] + row["event_bytes"],
                before[1] + row["adjusted_bytes"],
            )
        else:
            sent[row["account_id"]][row["month"]] = row["event_bytes"]
    found = []
    for account_id in sorted(shadows.keys() | stored.keys() | sent.keys()):
        shadow = shadows.get(account_id, _Shadow())
        ledger_bytes, adjusted_bytes = stored.get(account_id, (0, 0))
        months = sorted(shadow.bandwidth_bytes_by_month.keys() | sent[account_id].keys())
        found.append(
            AccountDifference(
                account_id=account_id,
                log_storage_bytes=shadow.storage_bytes,
                ledger_storage_bytes=ledger_bytes,
                adjusted_bytes=adjusted_bytes,
                months=[
                    MonthDifference(
                        month=month,
                        log_bytes=shadow.bandwidth_bytes_by_month.get(month, 0),
                        ledger_bytes=sent[account_id].get(month, 0),
                    )
                    for month in months
                ],
                is_comparable=shadow.is_whole and account_id not in beyond,
            )
        )
    return found


def _month(at: datetime) -> datetime:
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
