"""Usage over time, read in pages: between two of them a report holds nothing of the database.

So a reader may be as slow as it likes, and no number of them keeps events from being booked.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID

import stamina

from jettythunder.database import Database
from jettythunder.errors import DatabaseTimedOut, DatabaseUnavailable
from usage_meter.accounts.store import AccountStore
from usage_meter.reports.model import Bucket, ReportedAccount, ReportPage, UsageRow, pages
from usage_meter.reports.store import ReportStore

_ACCOUNTS_AT_ONCE = 200
_ROWS_AT_ONCE = 1000
_ATTEMPTS = 3


class UsageReport:
    """Reads usage per account and hour, day or month."""

    def __init__(self, database: Database, accounts: AccountStore, store: ReportStore) -> None:
        self._database = database
        self._accounts = accounts
        self._store = store

    async def read(
        self, *, bucket: Bucket, from_at: datetime, to_at: datetime, account: str | None = None
    ) -> AsyncIterator[list[UsageRow]]:
        """The rows in the order of accounts and time, a page after the other; no page is empty.

        Raises:
            AccountNotFound: there is no account of this id or of this user.
        """
        account_id = None
        if account is not None:
            account_id = (await self._accounts.find(self._database, name=account)).id
        end = min(to_at, datetime.now(UTC))
        async for accounts in self._reported(account_id):
            for page in pages(accounts, bucket, from_at=from_at, to_at=end, most_rows=_ROWS_AT_ONCE):
                if rows := await self._read(bucket, page):
                    yield rows

    async def _reported(self, account_id: UUID | None) -> AsyncIterator[list[ReportedAccount]]:
        after: UUID | None = None
        while page := await self._store.reported(
            self._database, account_id=account_id, after=after, page_size=_ACCOUNTS_AT_ONCE
        ):
            yield page
            after = page[-1].account_id

    @stamina.retry(on=(DatabaseUnavailable, DatabaseTimedOut), attempts=_ATTEMPTS)
    async def _read(self, bucket: Bucket, page: ReportPage) -> list[UsageRow]:
        return await self._store.usage(self._database, bucket=bucket, page=page)
