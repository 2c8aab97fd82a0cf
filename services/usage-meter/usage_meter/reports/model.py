"""What reports say, and how a report is read in pages of bounded size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from usage_meter.ledger.model import Kind, Resource


@dataclass(frozen=True)
class Quota:
    """What an account may use, uses and holds; levels are the thresholds announced last, in percent."""

    account_id: UUID
    agentcache_user_id: str
    tier: str
    status: str
    storage_used_bytes: int
    storage_reserved_bytes: int
    storage_quota_bytes: int
    bandwidth_used_bytes: int
    bandwidth_reserved_bytes: int
    bandwidth_quota_bytes: int
    request_count: int
    period_start: datetime
    period_end: datetime
    storage_level: int
    bandwidth_level: int


@dataclass(frozen=True)
class LedgerEntry:
    """A line of the ledger, as it is shown."""

    id: int
    resource: Resource
    kind: Kind
    used_delta_bytes: int
    reserved_delta_bytes: int
    request_count: int
    source_event_id: str
    reservation_id: UUID | None
    asset_id: UUID | None
    occurred_at: datetime
    recorded_at: datetime
    reason: str | None
    author: str | None


@dataclass(frozen=True)
class Price:
    """Dollars per GB (10^9 bytes): per GB-month stored, or per GB sent."""

    resource: Resource
    effective_from: datetime
    usd_per_gb: Decimal
    source: str


@dataclass(frozen=True)
class UsageRow:
    """An account's usage in an hour, a day or a month (UTC)."""

    account_id: UUID
    agentcache_user_id: str
    period_start: datetime
    period_end: datetime
    storage_bytes: int
    storage_byte_hours: Decimal
    bandwidth_bytes: int
    request_count: int
    storage_cost: Decimal
    bandwidth_cost: Decimal
    total_cost: Decimal


class Bucket(StrEnum):
    """What usage is added up over."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"

    def start(self, at: datetime) -> datetime:
        """When the bucket of a moment begins."""
        begin = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        match self:
            case Bucket.HOUR:
                return begin
            case Bucket.DAY:
                return begin.replace(hour=0)
            case Bucket.MONTH:
                return begin.replace(day=1, hour=0)

    def after(self, start: datetime, count: int) -> datetime:
        """When the bucket begins that comes ``count`` buckets after the one that begins at ``start``."""
        match self:
            case Bucket.HOUR:
                return start + timedelta(hours=count)
            case Bucket.DAY:
                return start + timedelta(days=count)
            case Bucket.MONTH:
                years, month = divmod(start.month - 1 + count, 12)
                return start.replace(year=start.year + years, month=month + 1)

    def number_between(self, start: datetime, end: datetime) -> int:
        """How many buckets begin from ``start``, where one does, to ``end`` (exclusive)."""
        match self:
            case Bucket.HOUR:
                return max(0, -((start - end) // timedelta(hours=1)))
            case Bucket.DAY:
                return max(0, -((start - end) // timedelta(days=1)))
            case Bucket.MONTH:
                last = self.start(end - timedelta(microseconds=1))
                return max(0, (last.year - start.year) * 12 + last.month - start.month + 1)


@dataclass(frozen=True)
class ReportedAccount:
    """An account, and the first hour that it has a row of; None where it has none."""

    account_id: UUID
    first_hour: datetime | None


@dataclass(frozen=True)
class ReportPage:
    """A part of a report: some accounts, from a bucket's start to an end."""

    account_ids: tuple[UUID, ...]
    from_at: datetime
    to_at: datetime


def pages(
    accounts: Sequence[ReportedAccount],
    bucket: Bucket,
    *,
    from_at: datetime,
    to_at: datetime,
    most_rows: int,
) -> Iterator[ReportPage]:
    """The pages of a report, in the order of accounts and time, of at most ``most_rows`` rows each."""
    used = [(each.account_id, each.first_hour) for each in accounts if each.first_hour is not None]
    due = [(account_id, first) for account_id, first in used if first < to_at]
    if not due or from_at >= to_at:
        return
    longest = bucket.number_between(_begin(due, bucket, from_at), to_at)
    at_once = max(1, most_rows // max(1, longest))
    for number in range(0, len(due), at_once):
        group = due[number : number + at_once]
        begin = _begin(group, bucket, from_at)
        while begin < to_at:
            end = min(to_at, bucket.after(begin, most_rows))
            yield ReportPage(tuple(account_id for account_id, _ in group), begin, end)
            begin = end


def _begin(accounts: Sequence[tuple[UUID, datetime]], bucket: Bucket, from_at: datetime) -> datetime:
    # Compared before it is converted: a caller's moment may be one that no other time zone can express.
    return bucket.start(max(from_at, min(first_hour for _, first_hour in accounts)))
