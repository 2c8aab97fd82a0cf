"""Reconciling: operators look at accounts, and what two looks have seen is mended.

What a running system moves between two looks is seen once; only what two looks see is mended. Folders of
accounts that are gone are found the same way: first the folders, then which of them have an account.
"""

import asyncio
from collections.abc import AsyncIterator

from jettythunder.database import Database
from usage_meter.accounts.model import Account
from usage_meter.accounts.store import AccountStore
from usage_meter.errors import ReconciliationRunning
from usage_meter.reconciliation.look import Looking
from usage_meter.reconciliation.mend import Mending
from usage_meter.reconciliation.model import Findings
from usage_meter.reconciliation.queue import ReconciliationQueue
from usage_meter.scheduling.lock import WorkLock

# Of all who look at accounts.
LOCK = "reconcile"


class Reconciliation:
    """Compares, and mends where asked.

    Args:
        settle_seconds: between the two looks of a run that mends.
    """

    def __init__(
        self,
        database: Database,
        accounts: AccountStore,
        *,
        looking: Looking,
        mending: Mending,
        queue: ReconciliationQueue,
        settle_seconds: float,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._looking = looking
        self._mending = mending
        self._queue = queue
        self._settle_seconds = settle_seconds
        self._lock = WorkLock(database, LOCK)

    async def run(self, *, account: str | None = None, fix: bool = False) -> AsyncIterator[Findings]:
        """Look at one account or all; with ``fix``, mend what a second look sees too.

        Raises:
            ReconciliationRunning: another one runs now.
            AccountNotFound: there is no such account.
        """
        async with self._lock.hold() as is_held:
            if not is_held:
                raise ReconciliationRunning
            found: list[tuple[Account, Findings]] = []
            ownerless: list[Findings] = []
            async for each in self._named(account):
                findings = await self._looking.at_account(each)
                if findings.is_clean or not fix:
                    yield findings
                else:
                    found.append((each, findings))
            if account is None:
                async for findings in self._ownerless():
                    if findings.is_clean or not fix:
                        yield findings
                    else:
                        ownerless.append(findings)
            if found or ownerless:
                await asyncio.sleep(self._settle_seconds)
            for each, findings in found:
                again = await self._looking.at_account(each)
                mended = await self._mending.mend(findings.seen_again(again))
                await self._queue.note(self._database, again, mended_bytes=mended.mended_bytes)
                yield mended
            for findings in ownerless:
                folder = await self._looking.at_ownerless(findings.account_id)
                if folder is None:
                    continue
                mended = await self._mending.mend_ownerless(findings.seen_again(folder))
                await self._queue.note(self._database, folder, mended_bytes=mended.mended_bytes)
                yield mended

    async def _ownerless(self) -> AsyncIterator[Findings]:
        async for account_id in self._looking.ownerless():
            findings = await self._looking.at_ownerless(account_id)
            if findings is not None:
                yield findings

    async def _named(self, name: str | None) -> AsyncIterator[Account]:
        if name is not None:
            yield await self._accounts.find(self._database, name=name)
            return
        async for account in self._accounts.every(self._database):
            yield account
