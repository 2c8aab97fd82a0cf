"""Accounts in the database."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from jettythunder.database import Queries, Runner
from jettythunder.errors import AccountNotFound
from usage_meter.accounts.model import Account

_PAGE_SIZE = 200

_queries = Queries("usage_meter.accounts")
_user_of = _queries.maybe("user_of", str)
_find_account = _queries.maybe("find_account", Account)
_list_accounts = _queries.all("list_accounts", Account)
_list_given = _queries.all("list_given", Account)
_without_account = _queries.all("without_account", UUID)


class AccountStore:
    """Reads accounts."""

    async def user_of(self, on: Runner, *, account_id: UUID) -> str | None:
        """The id of an account's user, as AgentCache gave it; None where there is no such account."""
        return await _user_of(on, account_id=account_id)

    async def find(self, on: Runner, *, name: str) -> Account:
        """An account by its id or its user's.

        Raises:
            AccountNotFound: there is none.
        """
        found = await _find_account(on, account_id=_as_id(name), name=name)
        if found is None:
            raise AccountNotFound(f"There is no account {name!r}.")
        return found

    async def page(self, on: Runner, *, after: UUID | None, page_size: int) -> list[Account]:
        """Accounts in the order of their ids, those after one."""
        return await _list_accounts(on, after=after, page_size=page_size)

    async def every(self, on: Runner) -> AsyncIterator[Account]:
        """All accounts in the order of their ids, read a page at a time."""
        after: UUID | None = None
        while page := await self.page(on, after=after, page_size=_PAGE_SIZE):
            for account in page:
                yield account
            after = page[-1].id

    async def given(self, on: Runner, *, account_ids: Sequence[UUID]) -> list[Account]:
        """The accounts of these ids in their order, without those that are gone."""
        return await _list_given(on, account_ids=account_ids)

    async def missing(self, on: Runner, *, account_ids: Sequence[UUID]) -> list[UUID]:
        """Which of these ids belong to no account."""
        return await _without_account(on, account_ids=account_ids)


def _as_id(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
