"""Mending: what is done about findings that two looks have seen.

Objects that nothing accounts for and assets without their object are the storage-gateway's: the former are
handed to its housekeeping, the latter are published as events for it. The ledger gets an adjustment, counters
are set to what the ledger adds up to, and hours are computed again.
"""

from dataclasses import replace

from jettythunder import outbox, telemetry
from jettythunder.contracts.assets import AssetObjectMissingV1
from jettythunder.database import Database
from jettythunder.ids import new_id
from usage_meter.ledger.adjust import Adjustments
from usage_meter.ledger.backlog import Backlog
from usage_meter.ledger.book import Ledger
from usage_meter.ledger.model import RECONCILER, Adjustment, HoldKey, Resource, reconciled_release
from usage_meter.ledger.store import LedgerStore
from usage_meter.messages import SOURCE
from usage_meter.reconciliation.model import Findings, LedgerDrift, LostHold
from usage_meter.reconciliation.store import ReconciliationStore
from usage_meter.rollups.store import RollupStore

log = telemetry.logger(__name__)


class Mending:
    """Mends, and says what it has left alone."""

    def __init__(
        self,
        database: Database,
        *,
        bucket: str,
        store: ReconciliationStore,
        ledger_store: LedgerStore,
        rollup_store: RollupStore,
        ledger: Ledger,
        adjustments: Adjustments,
        backlog: Backlog,
    ) -> None:
        self._database = database
        self._bucket = bucket
        self._store = store
        self._ledger_store = ledger_store
        self._rollup_store = rollup_store
        self._ledger = ledger
        self._adjustments = adjustments
        self._backlog = backlog

    async def mend(self, findings: Findings) -> Findings:
        """Mend what disagrees on an account."""
        mended: list[str] = []
        left_alone: list[str] = []
        if findings.orphans:
            mended.append(await self._hand_over(findings))
        if findings.missing:
            await self._announce_missing(findings)
            lost = sum(missing.found_bytes is None for missing in findings.missing)
            damaged = len(findings.missing) - lost
            if lost:
                mended.append(f"{lost} assets handed to the storage-gateway, to be deleted and credited")
            if damaged:
                left_alone.append(f"{damaged} assets whose object has another size: restore or delete them")
        if findings.counter_drift:
            await self._restore_counters(findings)
            mended.append("counters set to the ledger's sums")
        if findings.hours_drift_bytes:
            await self._rollup_store.queue_all_hours(self._database, account_id=findings.account_id)
            mended.append("all hours queued to be computed again")
        if findings.ledger_drift or findings.lost_holds:
            waiting = await self._backlog.count(self._database)
            if waiting:
                left_alone.append(
                    f"the ledger: {waiting} events wait to be booked or lie in the dead letters"
                )
            else:
                mended += await self._correct_ledger(findings)
        return replace(findings, mended=tuple(mended), left_alone=tuple(left_alone))

    async def mend_ownerless(self, findings: Findings) -> Findings:
        """Mend what lies in the folder of an account that is gone."""
        if findings.is_clean:
            return findings
        if not await self._store.is_in_ledger(self._database, account_id=findings.account_id):
            # With the wrong database, or the wrong bucket, every account would look gone.
            unknown = "all of it: the ledger has no entry of this account; are bucket and database a pair?"
            return replace(findings, left_alone=(unknown,))
        return replace(findings, mended=(await self._hand_over(findings),))

    async def _hand_over(self, findings: Findings) -> str:
        keys = [orphan.s3_key for orphan in findings.orphans]
        await self._store.request_deletions(self._database, bucket=self._bucket, keys=keys)
        return f"{len(keys)} objects handed to the storage-gateway's housekeeping for deletion"

    async def _announce_missing(self, findings: Findings) -> None:
        payloads = [
            AssetObjectMissingV1(account_id=findings.account_id, s3_bucket=self._bucket, **vars(missing))
            for missing in findings.missing
        ]
        async with self._database.transaction() as connection:
            await outbox.write(connection, *payloads, source=SOURCE)

    async def _restore_counters(self, findings: Findings) -> None:
        account_id = findings.account_id
        async with self._database.transaction() as connection:
            await self._ledger.lock(connection, [account_id])
            sources = await self._store.sources(connection, account_id=account_id)
            await self._store.restore_counters(connection, account_id=account_id, sources=sources)
        log.error("counters differed from the ledger and were set to it", account_id=str(account_id))

    async def _correct_ledger(self, findings: Findings) -> list[str]:
        corrected: list[str] = []
        holds = {hold.asset_id: hold for hold in findings.lost_holds}
        for drift in findings.ledger_drift:
            await self._adjust(findings, drift, holds.pop(drift.asset_id, None))
        if findings.ledger_drift:
            corrected.append(f"{len(findings.ledger_drift)} adjustments booked")
        if findings.lost_holds:
            await self._release(findings)
            corrected.append(f"{len(findings.lost_holds)} reservations of completed uploads released")
        return corrected

    async def _adjust(self, findings: Findings, drift: LedgerDrift, hold: LostHold | None) -> None:
        await self._adjustments.adjust(
            Adjustment(
                id=new_id(),
                account_id=findings.account_id,
                resource=Resource.STORAGE,
                used_delta_bytes=drift.asset_bytes - drift.ledger_bytes,
                reason=f"reconciled: {drift.ledger_bytes} bytes booked, {drift.asset_bytes} stored",
                author=RECONCILER,
                asset_id=drift.asset_id,
                reservation_id=hold.upload_id if hold is not None else None,
            )
        )

    async def _release(self, findings: Findings) -> None:
        """Release what the adjustments have not: holds of uploads whose bytes are booked already."""
        keys = [
            HoldKey(hold.upload_id, Resource.STORAGE, findings.account_id) for hold in findings.lost_holds
        ]
        async with self._database.transaction() as connection:
            accounts = await self._ledger.lock(connection, [findings.account_id])
            holds = await self._ledger_store.take_holds(connection, keys=keys)
            entries = [reconciled_release(hold, now=accounts.now, source_id=new_id()) for hold in holds]
            await self._ledger.book(connection, entries, accounts)
