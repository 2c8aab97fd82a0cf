"""Reconciliation: the bucket's listing, the assets, the ledger and the counters must tell the same bytes.

What is looked at is read in an order that makes no false findings: the bucket first, then the database in
one snapshot. An object whose upload began since then is not in the listing, and one that was uploaded before
it has its row. What a running system moves between two looks is seen once; only what two looks see is mended.
Folders of accounts that are gone are found the same way: first the folders, then which have an account.

What is mended belongs to others in part: an object nobody knows is handed to the storage-gateway's
housekeeping (object_deletions), an asset without its object is told to the gateway (an event), the ledger
gets an adjustment, and counters are set to what the ledger adds up to.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from uuid import UUID, uuid4

from prometheus_client import Gauge

from jettythunder import folders, outbox, telemetry
from jettythunder.contracts.assets import AssetObjectMissingV1
from jettythunder.database import Pool
from jettythunder.errors import AccountNotFound, ReconciliationRunning
from jettythunder.storage import ObjectMissing, Storage
from usage_meter.domain import Adjustment, Resource
from usage_meter.findings import Findings, compare, compare_ownerless
from usage_meter.messages import USAGE_METER_EVENTS
from usage_meter.repository import (
    Account,
    AccountRepository,
    LedgerRepository,
    ReconciliationRepository,
)
from usage_meter.scheduling import only_runner
from usage_meter.service import SOURCE, Meter

log = telemetry.logger(__name__)

_ACCOUNTS_AT_ONCE = 200
_drift = Gauge(
    "jettythunder_meter_drift_bytes", "Bytes on which bucket, assets, ledger and counters disagree"
)

Depths = Callable[..., Awaitable[dict[str, int]]]


class Reconciliation:
    """Compares, and mends where asked.

    Args:
        depths: tells how many messages wait in queues.
        queues: where events may be that are not booked yet.
        settle_seconds: between the two looks of a run that mends.
    """

    def __init__(
        self,
        pool: Pool,
        storage: Storage,
        meter: Meter,
        *,
        accounts: AccountRepository,
        ledger: LedgerRepository,
        repository: ReconciliationRepository,
        depths: Depths,
        queues: Sequence[str],
        settle_seconds: float,
    ) -> None:
        self._pool = pool
        self._storage = storage
        self._meter = meter
        self._accounts = accounts
        self._ledger = ledger
        self._repository = repository
        self._depths = depths
        self._queues = queues
        self._settle_seconds = settle_seconds

    async def run(self, *, account: str | None = None, fix: bool = False) -> AsyncIterator[Findings]:
        """Look at one account or all; with ``fix``, mend what a second look sees too.

        Raises:
            ReconciliationRunning: another instance does this now.
            AccountNotFound: there is no such account.
        """
        async with only_runner(self._pool, "reconcile") as is_mine:
            if not is_mine:
                raise ReconciliationRunning
            found: list[tuple[Account, Findings]] = []
            ownerless: list[Findings] = []
            async for each in self._named(account):
                findings = await self._look(each)
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
                yield await self._mend(each, findings.seen_again(await self._look(each)))
            for findings in ownerless:
                for account_id in await self._repository.without_account(self._pool, [findings.account_id]):
                    again = await self._look_at_ownerless(account_id)
                    yield await self._mend_ownerless(findings.seen_again(again))

    async def watch(self) -> None:
        """The scheduled run: changes nothing, measures the drift and logs where there is any."""
        drift_bytes = 0
        try:
            async for findings in self.run():
                drift_bytes += findings.drift_bytes
                if not findings.is_clean:
                    log.warning(
                        "usage drifts: see `jettythunder usage reconcile`",
                        account_id=str(findings.account_id),
                        drift_bytes=findings.drift_bytes,
                    )
        except ReconciliationRunning:
            log.info("drift not measured: ops reconcile now")
            return
        _drift.set(drift_bytes)

    async def _named(self, name: str | None) -> AsyncIterator[Account]:
        if name is not None:
            account = await self._accounts.find(self._pool, name)
            if account is None:
                raise AccountNotFound(f"There is no account {name!r}.")
            yield account
            return
        after: UUID | None = None
        while page := await self._accounts.page(self._pool, after=after, page_size=_ACCOUNTS_AT_ONCE):
            for account in page:
                yield account
            after = page[-1].id

    async def _look(self, account: Account) -> Findings:
        listing = await self._storage.list_sizes(account.s3_prefix)
        async with (
            self._pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            findings = compare(
                account,
                listing=listing,
                known=await self._repository.known_objects(connection, account, self._storage.bucket),
                ledger_drift=await self._repository.ledger_drift(connection, account.id),
                sources=await self._repository.sources(connection, account.id),
            )
        # An asset may be newer than the listing: its object is asked for by name.
        asked = [replace(m, found_bytes=await self._size_of(m.s3_key)) for m in findings.missing]
        return replace(findings, missing=tuple(m for m in asked if m.found_bytes != m.size_bytes))

    async def _ownerless(self) -> AsyncIterator[Findings]:
        async for page in self._storage.list_folders(folders.FOLDERS):
            ids = [account_id for account_id in map(folders.account_of, page) if account_id is not None]
            for account_id in await self._repository.without_account(self._pool, ids):
                yield await self._look_at_ownerless(account_id)

    async def _look_at_ownerless(self, account_id: UUID) -> Findings:
        folder = folders.folder_of(account_id)
        listing = await self._storage.list_sizes(folder)
        gone = Account(account_id, "", folder)
        async with self._pool.acquire() as connection:
            return compare_ownerless(
                account_id,
                listing=listing,
                known=await self._repository.known_objects(connection, gone, self._storage.bucket),
                ledger_bytes=await self._repository.booked_bytes(connection, account_id),
            )

    async def _size_of(self, key: str) -> int | None:
        try:
            return await self._storage.size_of(key)
        except ObjectMissing:
            return None

    async def _mend(self, account: Account, findings: Findings) -> Findings:
        mended: list[str] = []
        left_alone: list[str] = []
        if findings.orphans:
            mended.append(await self._hand_over(findings))
        if findings.missing:
            await self._tell_missing(account, findings)
            lost = sum(missing.found_bytes is None for missing in findings.missing)
            damaged = len(findings.missing) - lost
            if lost:
                mended.append(f"{lost} assets handed to the storage-gateway, to be deleted and credited")
            if damaged:
                left_alone.append(f"{damaged} assets whose object has another size: restore or delete them")
        if findings.counter_drift:
            await self._restore_counters(account)
            mended.append("counters set to the ledger's sums")
        if findings.ledger_drift and (waiting := await self._waiting()):
            # Booking an adjustment for an event that is still to come would count it twice.
            left_alone.append(f"the ledger: {waiting} events wait to be booked or lie in the dead letters")
        elif findings.ledger_drift:
            mended.append(await self._adjust(account, findings))
        return replace(findings, mended=tuple(mended), left_alone=tuple(left_alone))

    async def _mend_ownerless(self, findings: Findings) -> Findings:
        if findings.is_clean:
            return findings
        if not await self._repository.is_in_ledger(self._pool, findings.account_id):
            # With the wrong database, or the wrong bucket, every account would look gone.
            unknown = "all of it: the ledger has never heard of this account; are bucket and database a pair?"
            return replace(findings, left_alone=(unknown,))
        return replace(findings, mended=(await self._hand_over(findings),))

    async def _hand_over(self, findings: Findings) -> str:
        keys = [orphan.s3_key for orphan in findings.orphans]
        await self._repository.want_deleted(self._pool, bucket=self._storage.bucket, keys=keys)
        return f"{len(keys)} objects handed to the storage-gateway's housekeeping for deletion"

    async def _tell_missing(self, account: Account, findings: Findings) -> None:
        payloads = [
            AssetObjectMissingV1(account_id=account.id, s3_bucket=self._storage.bucket, **vars(missing))
            for missing in findings.missing
        ]
        async with self._pool.acquire() as connection, connection.transaction():
            await outbox.write(connection, *payloads, source=SOURCE)

    async def _restore_counters(self, account: Account) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            await self._ledger.lock_accounts(connection, [account.id])
            sources = await self._repository.sources(connection, account.id)
            await self._repository.restore_counters(connection, account.id, sources)
        log.error("counters differed from the ledger and were set to it", account_id=str(account.id))

    async def _adjust(self, account: Account, findings: Findings) -> str:
        for drift in findings.ledger_drift:
            await self._meter.adjust(
                Adjustment(
                    id=uuid4(),
                    account_id=account.id,
                    resource=Resource.STORAGE,
                    used_delta_bytes=drift.asset_bytes - drift.ledger_bytes,
                    reason=f"reconciled: {drift.ledger_bytes} bytes booked, {drift.asset_bytes} stored",
                    author="usage-meter",
                    asset_id=drift.asset_id,
                )
            )
        return f"{len(findings.ledger_drift)} adjustments booked"

    async def _waiting(self) -> int:
        depths = await self._depths(*self._queues)
        booked = [payload.TYPE for payload in USAGE_METER_EVENTS.payloads]
        return sum(depths.values()) + await self._repository.outbox_backlog(self._pool, booked)
