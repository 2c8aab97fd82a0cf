"""What an account has used, from usage-meter's counters."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from jettythunder.database import Pool
from jettythunder.errors import AccountNotFound
from storage_gateway.repository import Repository


class Quota:
    """Answers quota questions with one query."""

    def __init__(self, *, pool: Pool, repository: Repository) -> None:
        self._pool = pool
        self._repository = repository

    async def of(self, account_id: UUID) -> Mapping[str, Any]:
        """Counters, quotas, tier and period of an account.

        Raises:
            AccountNotFound: there is no such account.
        """
        row = await self._repository.quota_of(self._pool, account_id=account_id)
        if row is None:
            raise AccountNotFound
        return dict(row)
