"""Reconciliation: the bucket's listing, the assets, the ledger and the counters must tell the same bytes.

What is looked at is read in an order that makes no false findings: the bucket first, then the database in
one snapshot. An object whose upload began since then is not in the listing, and one that was uploaded before
it has its row. What a running system moves between two looks is seen once; only what two looks see is mended.

What is mended belongs to others in part: an object nobody knows is handed to the storage-gateway's
housekeeping (object_deletions), an asset without its object is told to the gateway (an event), the ledger
gets an adjustment, and counters are set to what the ledger adds up to.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

from prometheus_client import Gauge

from jettythunder import outbox, telemetry
from jettythunder.contracts.assets import AssetObjectMissingV1
from jettythunder.database import Pool
from jettythunder.errors import AccountNotFound, ReconciliationRunning
from jettythunder.storage import ObjectMissing, Storage
from usage_meter.domain import Adjustment, Resource
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
_COUNTERS = (
    ("counter_bytes", "ledger_bytes"),
    ("counter_reserved_bytes", "ledger_reserved_bytes"),
    ("counter_bandwidth_bytes", "ledger_bandwidth_bytes"),
    ("counter_bandwidth_reserved_bytes", "ledger_bandwidth_reserved_bytes"),
    ("counter_request_count", "ledger_request_count"),
)
_HOLDS = (
    ("held_bytes", "ledger_reserved_bytes"),
    ("held_bandwidth_bytes", "ledger_bandwidth_reserved_bytes"),
)

_drift = Gauge(
    "jettythunder_meter_drift_bytes", "Bytes on which bucket, assets, ledger and counters disagree"
)

Depths = Callable[..., Awaitable[dict[str, int]]]


@dataclass(frozen=True)
class Orphan:
    """An object that no asset, open upload or wanted deletion accounts for."""

    s3_key: str
    size_bytes: int


@dataclass(frozen=True)
class Missing:
    """An asset whose object is not there (``found_bytes`` None) or has another size."""

    asset_id: UUID
    s3_key: str
    size_bytes: int
    found_bytes: int | None


@dataclass(frozen=True)
class LedgerDrift:
    """An asset whose ledger entries don't add up to its size, or to 0 where it is gone."""

    asset_id: UUID
    ledger_bytes: int
    asset_bytes: int


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What one look at an account saw. ``mended`` says what was done about it."""

    account_id: UUID
    agentcache_user_id: str
    bucket_bytes: int
    assets_bytes: int
    ledger_bytes: int
    counter_bytes: int
    adjusted_bytes: int
    orphans: tuple[Orphan, ...] = ()
    missing: tuple[Missing, ...] = ()
    ledger_drift: tuple[LedgerDrift, ...] = ()
    counter_drift: Mapping[str, int] = field(default_factory=dict)
    mended: tuple[str, ...] = ()

    @property
    def drift_bytes(self) -> int:
        """All disagreements added up without their signs, so that none hides another."""
        return (
            sum(o.size_bytes for o in self.orphans)
            + sum(abs(m.size_bytes - (m.found_bytes or 0)) for m in self.missing)
            + sum(abs(d.ledger_bytes - d.asset_bytes) for d in self.ledger_drift)
            + sum(map(abs, self.counter_drift.values()))
        )

    @property
    def is_clean(self) -> bool:
        """Whether nothing disagrees; an empty object nobody knows weighs nothing and is a finding still."""
        return not (self.orphans or self.missing or self.ledger_drift or self.counter_drift)

    def seen_again(self, later: "Findings") -> "Findings":
        """Of a later look, what this one saw too."""
        return replace(
            later,
            orphans=tuple(o for o in later.orphans if o in self.orphans),
            missing=tuple(m for m in later.missing if m in self.missing),
            ledger_drift=tuple(d for d in later.ledger_drift if d in self.ledger_drift),
            counter_drift={
                name: size
                for name, size in later.counter_drift.items()
                if self.counter_drift.get(name) == size
            },
        )


def compare(
    account: Account,
    *,
    listing: Mapping[str, int],
    known: list[dict[str, Any]],
    ledger_drift: list[dict[str, Any]],
    sources: Mapping[str, int],
) -> Findings:
    """What bucket, assets, ledger and counters disagree on."""
    assets = [row for row in known if row["kind"] == "asset"]
    known_keys = {row["s3_key"] for row in known}
    # The object that is named like the folder is the folder.
    objects = {key: size for key, size in listing.items() if key != account.s3_prefix}
    differences = {f"{a} - {b}": sources[a] - sources[b] for a, b in (*_COUNTERS, *_HOLDS)}
    return Findings(
        account_id=account.id,
        agentcache_user_id=account.agentcache_user_id,
        bucket_bytes=sum(objects.values()),
        assets_bytes=sum(row["size_bytes"] for row in assets),
        ledger_bytes=sources["ledger_bytes"],
        counter_bytes=sources["counter_bytes"],
        adjusted_bytes=sources["adjusted_bytes"],
        orphans=tuple(Orphan(key, size) for key, size in sorted(objects.items()) if key not in known_keys),
        missing=tuple(
            Missing(row["asset_id"], row["s3_key"], row["size_bytes"], objects.get(row["s3_key"]))
            for row in assets
            if objects.get(row["s3_key"]) != row["size_bytes"]
        ),
        ledger_drift=tuple(LedgerDrift(**row) for row in ledger_drift),
        counter_drift={name: size for name, size in differences.items() if size},
    )


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
            async for each in self._named(account):
                findings = await self._look(each)
                if findings.is_clean or not fix:
                    yield findings
                else:
                    found.append((each, findings))
            if found:
                await asyncio.sleep(self._settle_seconds)
            for each, findings in found:
                yield await self._mend(each, findings.seen_again(await self._look(each)))

    async def watch(self) -> None:
        """The scheduled run: changes nothing, measures the drift and logs where there is any."""
        drift_bytes = 0
        async for findings in self.run():
            drift_bytes += findings.drift_bytes
            if not findings.is_clean:
                log.warning(
                    "usage drifts: see `jettythunder usage reconcile`",
                    account_id=str(findings.account_id),
                    drift_bytes=findings.drift_bytes,
                )
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

    async def _size_of(self, key: str) -> int | None:
        try:
            return await self._storage.size_of(key)
        except ObjectMissing:
            return None

    async def _mend(self, account: Account, findings: Findings) -> Findings:
        mended: list[str] = []
        if findings.orphans:
            keys = [orphan.s3_key for orphan in findings.orphans]
            await self._repository.want_deleted(self._pool, bucket=self._storage.bucket, keys=keys)
            mended.append(f"{len(keys)} objects handed to the storage-gateway's housekeeping for deletion")
        if findings.missing:
            await self._tell_missing(account, findings)
            mended.append(
                f"{len(findings.missing)} assets reported to the storage-gateway as without their object"
            )
        if findings.counter_drift:
            await self._restore_counters(account)
            mended.append("counters set to the ledger's sums")
        if findings.ledger_drift:
            mended.append(await self._adjust(account, findings))
        return replace(findings, mended=tuple(mended))

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
        waiting = await self._waiting()
        if waiting:
            # Booking an adjustment for an event that is still to come would count it twice.
            return f"ledger left alone: {waiting} events still wait to be booked or lie in the dead letters"
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
        return sum(depths.values()) + await self._repository.outbox_backlog(self._pool)
