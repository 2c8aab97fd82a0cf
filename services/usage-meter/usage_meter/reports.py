"""What people and bills read: quotas, the ledger, and usage per hour, day or month."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from jettythunder.database import Pool
from jettythunder.errors import AccountNotFound, InvalidField
from usage_meter.domain import Resource
from usage_meter.repository import Account, AccountRepository, ReportRepository


class Reports:
    """Reads. Nothing here changes usage; a price changes costs only."""

    def __init__(self, pool: Pool, *, accounts: AccountRepository, repository: ReportRepository) -> None:
        self._pool = pool
        self._accounts = accounts
        self._repository = repository

    async def account(self, name: str) -> Account:
        """An account by its id or its user's.

        Raises:
            AccountNotFound: there is none.
        """
        found = await self._accounts.find(self._pool, name)
        if found is None:
            raise AccountNotFound(f"There is no account {name!r}.")
        return found

    async def quota(self, name: str) -> dict[str, Any]:
        """One account's quota answer."""
        account = await self.account(name)
        return (await self._repository.quotas(self._pool, [account.id]))[0]

    async def quotas(self, *, after: UUID | None, page_size: int) -> tuple[list[dict[str, Any]], UUID | None]:
        """A page of quota answers in the order of account ids, and the cursor of the next one."""
        page = await self._accounts.page(self._pool, after=after, page_size=page_size)
        rows = await self._repository.quotas(self._pool, [account.id for account in page])
        return rows, page[-1].id if len(page) == page_size else None

    async def entries(
        self, name: str, *, before: int | None, page_size: int
    ) -> tuple[list[dict[str, Any]], int | None]:
        """A page of an account's ledger, the newest first, and the cursor of the next one."""
        account = await self.account(name)
        rows = await self._repository.entries(
            self._pool, account_id=account.id, before=before, page_size=page_size
        )
        return rows, int(rows[-1]["id"]) if len(rows) == page_size else None

    async def usage(
        self, *, bucket: str, from_at: datetime, to_at: datetime, account: Account | None
    ) -> AsyncIterator[dict[str, Any]]:
        """Usage per account and bucket, read as it is taken."""
        async with self._pool.acquire() as connection:
            async for row in self._repository.rows(
                connection,
                bucket=bucket,
                from_at=from_at,
                to_at=to_at,
                account_id=account.id if account else None,
            ):
                yield row

    async def prices(self) -> list[dict[str, Any]]:
        """All prices, the newest first."""
        return await self._repository.prices(self._pool)

    async def set_price(
        self, *, resource: Resource, effective_from: datetime, usd_per_gb: Decimal, source: str
    ) -> None:
        """Set a price from a month on; the costs of what it prices are computed again.

        Raises:
            InvalidField: it is not the start of a month in UTC.
        """
        if (effective_from.day, effective_from.time()) != (1, datetime.min.time()):
            raise InvalidField("A price begins with a month: give its first day, in UTC.")
        async with self._pool.acquire() as connection, connection.transaction():
            await self._repository.set_price(
                connection,
                resource=resource,
                effective_from=effective_from,
                usd_per_gb=usd_per_gb,
                source=source,
            )
