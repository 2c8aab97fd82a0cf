"""Watching: the scheduled run, which changes nothing, measures the drift and logs where there is any.

Its work is as much as has changed: it looks at accounts whose usage changed and at what drifted before, which
stays queued until a look finds it clean. What no event tells of, such as an object that somebody deletes in
the bucket, is found by a round over all accounts, of which each run does its part. Queue and round are in the
database: a run that failed is continued by the next, of any instance.
"""

import time
from uuid import UUID

from prometheus_client import Gauge

from jettythunder import telemetry
from jettythunder.database import Database
from usage_meter.accounts.store import AccountStore
from usage_meter.reconciliation.look import Looking
from usage_meter.reconciliation.model import Findings
from usage_meter.reconciliation.queue import ReconciliationQueue
from usage_meter.reconciliation.reconcile import LOCK
from usage_meter.scheduling.lock import WorkLock

_PAGE_SIZE = 200

log = telemetry.logger(__name__)

_drift = Gauge(
    "jettythunder_meter_drift_bytes", "Bytes on which bucket, assets, ledger, counters and hours disagree"
)


class Watching:
    """Measures the drift.

    Args:
        interval_seconds: between two runs.
        round_seconds: in which every account is looked at once.
    """

    def __init__(
        self,
        database: Database,
        accounts: AccountStore,
        *,
        looking: Looking,
        queue: ReconciliationQueue,
        interval_seconds: float,
        round_seconds: float,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._looking = looking
        self._queue = queue
        self._interval_seconds = interval_seconds
        self._round_seconds = round_seconds
        self._lock = WorkLock(database, LOCK)

    async def run(self) -> float:
        """Look at what is queued, and go on with the round over all accounts.

        Returns:
            For how many seconds it worked.
        """
        began = time.monotonic()
        async with self._lock.hold() as connection:
            if connection is None:
                log.info("drift not measured: another reconciliation runs")
            else:
                await self._look_at_queued()
                await self._continue_round()
        await self.show()
        return time.monotonic() - began

    async def show(self) -> None:
        """Set the metric to what is known, whichever instance has found or mended it."""
        _drift.set(await self._queue.drift_bytes(self._database))

    async def _look_at_queued(self) -> None:
        after: UUID | None = None
        while ids := await self._queue.page(self._database, after=after, page_size=_PAGE_SIZE):
            accounts = await self._accounts.given(self._database, account_ids=ids)
            for account in accounts:
                _log(await self._looking.at_account(account))
            gone = set(ids).difference(account.id for account in accounts)
            async for findings in self._looking.at_ownerless(*gone):
                _log(findings)
            after = ids[-1]

    async def _continue_round(self) -> None:
        """Look at as many accounts as are due, in whole pages; of a small installation that is all."""
        now = await self._queue.round(self._database)
        after = now.after_account_id
        due_count = now.due_count(interval_seconds=self._interval_seconds, period_seconds=self._round_seconds)
        while True:
            page = await self._accounts.page(self._database, after=after, page_size=_PAGE_SIZE)
            is_end = len(page) < _PAGE_SIZE
            # Before the accounts, each of which moves the round.
            async for findings in self._looking.at_folders(
                after=after, until=None if is_end else page[-1].id
            ):
                _log(findings)
            for account in page:
                _log(await self._looking.at_account(account))
                await self._queue.move_round(self._database, after=account.id)
                after = account.id
            due_count -= len(page)
            if is_end:
                await self._queue.end_round(self._database)
            if is_end or due_count <= 0:
                return


def _log(findings: Findings) -> None:
    if not findings.is_clean:
        log.warning(
            "usage drifts: see `jettythunder usage reconcile`",
            account_id=str(findings.account_id),
            drift_bytes=findings.drift_bytes,
        )
