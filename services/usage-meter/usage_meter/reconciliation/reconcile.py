"""Reconciling: every account is looked at, and what two looks have seen is mended.

What a running system moves between two looks is seen once; only what two looks see is mended. Folders of
accounts that are gone are found the same way: first the folders, then which of them have an account.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from uuid import UUID

from prometheus_client import Gauge

from jettythunder import folders, telemetry
from jettythunder.database import Database
from jettythunder.storage import Storage
from usage_meter.accounts.model import Account
from usage_meter.accounts.store import AccountStore
from usage_meter.errors import ReconciliationRunning
from usage_meter.reconciliation.look import Looking
from usage_meter.reconciliation.mend import Mending
from usage_meter.reconciliation.model import Findings
from usage_meter.scheduling.lock import WorkLock

log = telemetry.logger(__name__)

_drift = Gauge(
    "jettythunder_meter_drift_bytes", "Bytes on which bucket, assets, ledger, counters and hours disagree"
)


class Reconciliation:
    """Compares, and mends where asked.

    Args:
        settle_seconds: between the two looks of a run that mends.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        accounts: AccountStore,
        *,
        looking: Looking,
        mending: Mending,
        settle_seconds: float,
    ) -> None:
        self._database = database
        self._storage = storage
        self._accounts = accounts
        self._looking = looking
        self._mending = mending
        self._settle_seconds = settle_seconds
        self._lock = WorkLock(database, "reconcile")
        # How far the scheduled run has come, and what it has found until there.
        self._watched: UUID | None = None
        self._watched_drift_bytes = 0

    async def run(
        self, *, account: str | None = None, fix: bool = False, after: UUID | None = None
    ) -> AsyncIterator[Findings]:
        """Look at one account or all; with ``fix``, mend what a second look sees too.

        Args:
            after: of all accounts, only those after this one.

        Raises:
            ReconciliationRunning: another one runs now.
            AccountNotFound: there is no such account.
        """
        async with self._lock.hold() as connection:
            if connection is None:
                raise ReconciliationRunning
            found: list[tuple[Account, Findings]] = []
            ownerless: list[Findings] = []
            async for each in self._named(account, after):
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
                yield await self._mending.mend(findings.seen_again(again))
            for findings in ownerless:
                async for again in self._still_ownerless(findings.account_id):
                    yield await self._mending.mend_ownerless(findings.seen_again(again))

    async def watch(self) -> float:
        """The scheduled run: changes nothing, measures the drift and logs where there is any.

        One that failed is continued by the next, from the account that it failed at.

        Returns:
            For how many seconds it worked.
        """
        began = time.monotonic()
        ownerless_bytes = 0
        try:
            async for findings in self.run(after=self._watched):
                if findings.agentcache_user_id is None:
                    ownerless_bytes += findings.drift_bytes
                else:
                    self._watched = findings.account_id
                    self._watched_drift_bytes += findings.drift_bytes
                if not findings.is_clean:
                    log.warning(
                        "usage drifts: see `jettythunder usage reconcile`",
                        account_id=str(findings.account_id),
                        drift_bytes=findings.drift_bytes,
                    )
        except ReconciliationRunning:
            log.info("drift not measured: another reconciliation runs")
        else:
            _drift.set(self._watched_drift_bytes + ownerless_bytes)
            self._watched, self._watched_drift_bytes = None, 0
        return time.monotonic() - began

    async def _named(self, name: str | None, after: UUID | None) -> AsyncIterator[Account]:
        if name is not None:
            yield await self._accounts.find(self._database, name=name)
            return
        async for account in self._accounts.every(self._database, after=after):
            yield account

    async def _ownerless(self) -> AsyncIterator[Findings]:
        async for page in self._storage.list_folders(folders.FOLDERS):
            ids = [account_id for account_id in map(folders.account_of, page) if account_id is not None]
            async for findings in self._still_ownerless(*ids):
                yield findings

    async def _still_ownerless(self, *account_ids: UUID) -> AsyncIterator[Findings]:
        for account_id in await self._accounts.missing(self._database, account_ids=account_ids):
            yield await self._looking.at_ownerless_folder(account_id)
