"""Watching: the scheduled run, which mends nothing, measures the drift and logs where there is any.

Its work is as much as has changed: it looks at accounts whose usage changed and at what drifted before, which
stays queued until a look finds it clean. What no event tells of, such as an object that somebody deletes in
the bucket, is found by a round over all accounts, of which each run does its part. Queue, round and the
end of the last run are in the database: a run that failed is continued by the next, of any instance, and
restarts and replicas make neither fewer runs nor more.

An account that can't be looked at stays queued, and the run goes on. It ends where a server can't be reached,
or where so many fail one after the other that nothing is measured any more.
"""

import time
from collections.abc import Awaitable, Callable
from uuid import UUID

from prometheus_client import Counter, Gauge

from jettythunder import telemetry
from jettythunder.database import Database
from jettythunder.errors import JettyThunderError
from usage_meter.accounts.store import AccountStore
from usage_meter.reconciliation.look import Looking
from usage_meter.reconciliation.model import Findings
from usage_meter.reconciliation.queue import ReconciliationQueue
from usage_meter.reconciliation.reconcile import LOCK
from usage_meter.scheduling.lock import WorkLock
from usage_meter.scheduling.metering import pause_seconds

_PAGE_SIZE = 200
_CHECK_SECONDS = 3600.0
# After so many failures in a row the object storage is asked whether it can be reached.
_DOUBTFUL_FAILURES = 5
_MOST_FAILURES = 100

log = telemetry.logger(__name__)

_drift = Gauge(
    "jettythunder_meter_drift_bytes", "Bytes on which bucket, assets, ledger, counters and hours disagree"
)
_measured_at = Gauge(
    "jettythunder_meter_drift_measured_timestamp_seconds",
    "When a scheduled run was last finished, on whichever instance; 0 before the first",
)
_looks_failed = Counter(
    "jettythunder_meter_looks_failed_total", "Accounts that a scheduled run could not look at"
)


class Watching:
    """Measures the drift.

    Args:
        ping_storage: raises where the object storage can't be reached.
        interval_seconds: from the end of a run to the start of the next, whichever instances they are of.
        round_seconds: in which every account is looked at once.
    """

    def __init__(
        self,
        database: Database,
        accounts: AccountStore,
        *,
        looking: Looking,
        queue: ReconciliationQueue,
        ping_storage: Callable[[], Awaitable[None]],
        interval_seconds: float,
        round_seconds: float,
    ) -> None:
        self._database = database
        self._accounts = accounts
        self._looking = looking
        self._queue = queue
        self._ping_storage = ping_storage
        self._interval_seconds = interval_seconds
        self._round_seconds = round_seconds
        self._lock = WorkLock(database, LOCK)

    async def run(self) -> float:
        """Where a run is due, look at what is queued, and go on with the round over all accounts.

        Returns:
            In how many seconds to ask again: when the next run is due, after an hour at most.
        """
        began = time.monotonic()
        async with self._lock.hold() as is_held:
            if not is_held:
                log.info("drift not measured: another reconciliation runs")
                due_seconds = self._interval_seconds
            else:
                due_seconds = await self._due_seconds()
                if due_seconds <= 0:
                    looks = _Looks(self._database, self._queue, self._ping_storage)
                    await self._look_at_queued(looks)
                    await self._continue_round(looks)
                    await self._queue.end_run(self._database)
                    due_seconds = self._interval_seconds
        await self.show()
        worked_seconds = time.monotonic() - began
        return pause_seconds(
            worked_seconds, interval_seconds=min(due_seconds, _CHECK_SECONDS), is_behind=False
        )

    async def show(self) -> None:
        """Set the metrics to what is known, whichever instance has found or mended it."""
        _drift.set(await self._queue.drift_bytes(self._database))
        age_seconds = await self._queue.run_age_seconds(self._database)
        _measured_at.set(0 if age_seconds is None else time.time() - age_seconds)

    async def _due_seconds(self) -> float:
        age_seconds = await self._queue.run_age_seconds(self._database)
        return 0 if age_seconds is None else self._interval_seconds - age_seconds

    async def _look_at_queued(self, looks: "_Looks") -> None:
        after: UUID | None = None
        while ids := await self._queue.page(self._database, after=after, page_size=_PAGE_SIZE):
            accounts = await self._accounts.given(self._database, account_ids=ids)
            for account in accounts:
                await looks.take(account.id, self._looking.at_account(account))
            for account_id in set(ids).difference(account.id for account in accounts):
                await looks.take(account_id, self._looking.at_ownerless(account_id))
            after = ids[-1]

    async def _continue_round(self, looks: "_Looks") -> None:
        """Look at as many accounts as are due, in whole pages; of a small installation that is all.

        One that was queued may be looked at again: to remember them all would take memory by their number.
        """
        now = await self._queue.round(self._database)
        after = now.after_account_id
        due_count = now.due_count(interval_seconds=self._interval_seconds, period_seconds=self._round_seconds)
        while True:
            page = await self._accounts.page(self._database, after=after, page_size=_PAGE_SIZE)
            is_end = len(page) < _PAGE_SIZE
            # Before the accounts, each of which moves the round.
            async for account_id in self._looking.ownerless(
                after=after, until=None if is_end else page[-1].id
            ):
                await looks.take(account_id, self._looking.at_ownerless(account_id))
            for account in page:
                await looks.take(account.id, self._looking.at_account(account))
                await self._queue.move_round(self._database, after=account.id)
                after = account.id
            due_count -= len(page)
            if is_end:
                await self._queue.end_round(self._database)
            if is_end or due_count <= 0:
                return


class _Looks:
    """The looks of one run, some of which may fail."""

    def __init__(
        self, database: Database, queue: ReconciliationQueue, ping_storage: Callable[[], Awaitable[None]]
    ) -> None:
        self._database = database
        self._queue = queue
        self._ping_storage = ping_storage
        self._failed_in_a_row = 0

    async def take(self, account_id: UUID, look: Awaitable[Findings | None]) -> None:
        """Log what a look finds; an account that can't be looked at is queued.

        Raises:
            StorageUnavailable, DatabaseUnavailable: no look can succeed.
            Exception: what the look raised, where very many before it failed too.
        """
        try:
            findings = await look
        except Exception as error:
            self._failed_in_a_row += 1
            _looks_failed.inc()
            _log_failure(account_id, error)
            await self._queue.add(self._database, account_ids=[account_id])
            if self._failed_in_a_row == _DOUBTFUL_FAILURES:
                await self._ping_storage()
            if self._failed_in_a_row == _MOST_FAILURES:
                raise
        else:
            self._failed_in_a_row = 0
            if findings is not None:
                _log_findings(findings)


def _log_failure(account_id: UUID, error: Exception) -> None:
    if isinstance(error, JettyThunderError):
        log.warning("account not looked at", account_id=str(account_id), code=error.code)
    else:
        log.error("account not looked at", account_id=str(account_id), exc_info=error)


def _log_findings(findings: Findings) -> None:
    if not findings.is_clean:
        log.warning(
            "usage drifts: see `jettythunder usage reconcile`",
            account_id=str(findings.account_id),
            drift_bytes=findings.drift_bytes,
        )
