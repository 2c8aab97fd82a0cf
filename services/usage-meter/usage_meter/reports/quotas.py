"""Quotas and ledgers, as operators look at them."""

from dataclasses import dataclass
from uuid import UUID

from jettythunder.database import Database
from usage_meter.accounts.store import AccountStore
from usage_meter.reports.model import LedgerEntry, Quota
from usage_meter.reports.store import ReportStore


@dataclass(frozen=True)
class QuotaPage:
    """Quotas in the order of account ids, and the cursor of the next page."""

    accounts: list[Quota]
    next_cursor: UUID | None


@dataclass(frozen=True)
class LedgerPage:
    """Ledger entries, the newest first, and the cursor of the next page."""

    entries: list[LedgerEntry]
    next_cursor: int | None


class Quotas:
    """Reads quotas and ledgers."""

    def __init__(self, database: Database, accounts: AccountStore, store: ReportStore) -> None:
        self._database = database
        self._accounts = accounts
        self._store = store

    async def one(self, name: str) -> Quota:
        """One account's quota.

        Raises:
            AccountNotFound: there is no account of this id or of this user.
        """
        account = await self._accounts.find(self._database, name=name)
        (quota,) = await self._store.quotas(self._database, account_ids=[account.id])
        return quota

    async def page(self, *, after: UUID | None, page_size: int) -> QuotaPage:
        """A page of all quotas."""
        page = await self._accounts.page(self._database, after=after, page_size=page_size)
        quotas = await self._store.quotas(self._database, account_ids=[account.id for account in page])
        return QuotaPage(quotas, page[-1].id if len(page) == page_size else None)

    async def ledger(self, name: str, *, before: int | None, page_size: int) -> LedgerPage:
        """A page of an account's ledger.

        Raises:
            AccountNotFound: there is no account of this id or of this user.
        """
        account = await self._accounts.find(self._database, name=name)
        entries = await self._store.entries(
            self._database, account_id=account.id, before=before, page_size=page_size
        )
        return LedgerPage(entries, entries[-1].id if len(entries) == page_size else None)
