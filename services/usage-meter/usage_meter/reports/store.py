"""Quotas, ledger entries, usage and prices in the database."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from jettythunder.database import Queries, Runner
from usage_meter.ledger.model import Resource
from usage_meter.reports.model import (
    Bucket,
    LedgerEntry,
    Price,
    Quota,
    ReportedAccount,
    ReportPage,
    UsageRow,
)

_queries = Queries("usage_meter.reports")
_list_quotas = _queries.all("list_quotas", Quota)
_list_entries = _queries.all("list_entries", LedgerEntry)
_list_reported = _queries.all("list_reported", ReportedAccount)
_report = _queries.all("report", UsageRow)
_list_prices = _queries.all("list_prices", Price)
_set_price = _queries.run("set_price")


class ReportStore:
    """Reads what is reported, and sets prices."""

    async def quotas(self, on: Runner, *, account_ids: Sequence[UUID]) -> list[Quota]:
        """The quotas of accounts, in the order of their ids."""
        return await _list_quotas(on, account_ids=account_ids)

    async def entries(
        self, on: Runner, *, account_id: UUID, before: int | None, page_size: int
    ) -> list[LedgerEntry]:
        """A page of an account's ledger, the newest first."""
        return await _list_entries(on, account_id=account_id, before=before, page_size=page_size)

    async def reported(
        self, on: Runner, *, account_id: UUID | None, after: UUID | None, page_size: int
    ) -> list[ReportedAccount]:
        """A page of accounts in the order of their ids, or one account alone."""
        return await _list_reported(on, account_id=account_id, after=after, page_size=page_size)

    async def usage(self, on: Runner, *, bucket: Bucket, page: ReportPage) -> list[UsageRow]:
        """The rows of a page of a report."""
        return await _report(
            on, bucket=bucket, account_ids=page.account_ids, from_at=page.from_at, to_at=page.to_at
        )

    async def prices(self, on: Runner) -> list[Price]:
        """All prices, the newest first."""
        return await _list_prices(on)

    async def set_price(
        self, on: Runner, *, resource: Resource, effective_from: datetime, usd_per_gb: Decimal, source: str
    ) -> None:
        """Set a price from the start of a month on."""
        await _set_price(
            on, resource=resource, effective_from=effective_from, usd_per_gb=usd_per_gb, source=source
        )
