"""What the event log says of usage, and where the ledger says otherwise."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from usage_meter.ledger.model import Fact, FactKind, Resource


@dataclass(frozen=True)
class LedgerSum:
    """An account's used bytes in a month (UTC) by the ledger: from events, and from adjustments."""

    account_id: UUID
    resource: Resource
    month: datetime
    event_bytes: int
    adjusted_bytes: int


@dataclass(frozen=True)
class MonthDifference:
    """Bytes sent in a month (UTC)."""

    month: datetime
    log_bytes: int
    ledger_bytes: int


@dataclass(frozen=True)
class AccountDifference:
    """What the log and the ledger say of an account; where they agree there is no difference.

    Adjustments are in no event, so the ledger is compared without them; ``adjusted_bytes`` shows what they
    add to storage. An account whose beginning has left the log is not comparable.
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


@dataclass(frozen=True)
class Rebuilt:
    """Every account's figures, and how many events they were computed from.

    ``pending_events`` are in the log and not booked yet.
    """

    events: int
    pending_events: int
    accounts: list[AccountDifference]

    @property
    def differing(self) -> list[AccountDifference]:
        """The accounts on which log and ledger disagree."""
        return [account for account in self.accounts if account.differs]


@dataclass
class _Use:
    """An account's use as the log says."""

    storage_bytes: int = 0
    bandwidth_bytes_by_month: dict[datetime, int] = field(default_factory=lambda: defaultdict(int))
    is_whole: bool = False

    def add(self, fact: Fact) -> None:
        if fact.resource is Resource.STORAGE:
            self.storage_bytes += fact.used_delta_bytes
        else:
            self.bandwidth_bytes_by_month[month_of(fact.occurred_at)] += fact.used_bytes
        # The log has all of an account if it has the event that began it.
        self.is_whole = self.is_whole or fact.kind is FactKind.QUOTA_CHANGED


def compare(
    facts: Iterable[Fact], sums: Iterable[LedgerSum], *, beyond_log: Iterable[UUID]
) -> list[AccountDifference]:
    """Set what the log says of each account beside what the ledger says.

    Args:
        facts: of the events that are booked; one of an account's provisioning is its beginning.
        beyond_log: accounts with entries of events that have left the log.
    """
    uses: dict[UUID, _Use] = defaultdict(_Use)
    for fact in facts:
        uses[fact.account_id].add(fact)
    stored: dict[UUID, int] = defaultdict(int)
    adjusted: dict[UUID, int] = defaultdict(int)
    sent: dict[UUID, dict[datetime, int]] = defaultdict(dict)
    for each in sums:
        if each.resource is Resource.STORAGE:
            stored[each.account_id] += each.event_bytes
            adjusted[each.account_id] += each.adjusted_bytes
        else:
            sent[each.account_id][each.month] = each.event_bytes
    not_whole = set(beyond_log)
    return [
        AccountDifference(
            account_id=account_id,
            log_storage_bytes=uses[account_id].storage_bytes,
            ledger_storage_bytes=stored[account_id],
            adjusted_bytes=adjusted[account_id],
            months=_months(uses[account_id].bandwidth_bytes_by_month, sent[account_id]),
            is_comparable=uses[account_id].is_whole and account_id not in not_whole,
        )
        for account_id in sorted({*uses, *stored, *sent})
    ]


def _months(in_log: dict[datetime, int], in_ledger: dict[datetime, int]) -> list[MonthDifference]:
    return [
        MonthDifference(month, in_log.get(month, 0), in_ledger.get(month, 0))
        for month in sorted({*in_log, *in_ledger})
    ]


def month_of(at: datetime) -> datetime:
    """The start of a moment's calendar month in UTC."""
    return at.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
