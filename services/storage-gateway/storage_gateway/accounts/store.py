"""Accounts' counters in PostgreSQL."""

from uuid import UUID

from jettythunder.database import Database, Queries
from jettythunder.errors import AccountNotFound
from storage_gateway.accounts.quota import Counters

_quota_of = Queries("storage_gateway.accounts").maybe("quota_of", Counters)


class Quotas:
    """Answers questions about quotas with one query, from the usage-meter's counters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, account_id: UUID) -> Counters:
        """An account's counters.

        Raises:
            AccountNotFound: there is no such account.
        """
        counters = await _quota_of(self._database, account_id=account_id)
        if counters is None:
            raise AccountNotFound
        return counters
