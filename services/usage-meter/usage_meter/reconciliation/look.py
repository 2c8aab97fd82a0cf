"""Looking: what the sources say of one account, in an order that makes no false findings.

The bucket is read first, then the database in one snapshot. An object whose upload began since then is not
in the listing, and one that was uploaded before it has its row.
"""

from dataclasses import replace
from uuid import UUID

from jettythunder import folders
from jettythunder.database import Database
from jettythunder.storage import ObjectMissing, Storage
from usage_meter.accounts.model import Account
from usage_meter.reconciliation.model import Findings, compare, compare_ownerless
from usage_meter.reconciliation.store import ReconciliationStore


class Looking:
    """Looks at accounts, and at folders whose account is gone.

    Args:
        settle_seconds: how long after an upload's completion its event should be booked.
    """

    def __init__(
        self, database: Database, storage: Storage, store: ReconciliationStore, *, settle_seconds: float
    ) -> None:
        self._database = database
        self._storage = storage
        self._store = store
        self._settle_seconds = settle_seconds

    async def at_account(self, account: Account) -> Findings:
        """What disagrees on an account."""
        listing = await self._storage.list_sizes(account.s3_prefix)
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as snapshot:
            findings = compare(
                account,
                listing=listing,
                known=await self._store.known_objects(snapshot, account=account, bucket=self._storage.bucket),
                ledger_drift=await self._store.ledger_drift(snapshot, account_id=account.id),
                lost_holds=await self._store.lost_holds(
                    snapshot, account_id=account.id, settle_seconds=self._settle_seconds
                ),
                sources=await self._store.sources(snapshot, account_id=account.id),
            )
        # An asset may be newer than the listing: its object is asked for by name.
        asked = [replace(m, found_bytes=await self._size_of(m.s3_key)) for m in findings.missing]
        return replace(findings, missing=tuple(m for m in asked if m.found_bytes != m.size_bytes))

    async def at_ownerless_folder(self, account_id: UUID) -> Findings:
        """What lies in the folder of an account that is gone."""
        folder = folders.folder_of(account_id)
        listing = await self._storage.list_sizes(folder)
        gone = Account(account_id, "", folder)
        return compare_ownerless(
            account_id,
            listing=listing,
            known=await self._store.known_objects(self._database, account=gone, bucket=self._storage.bucket),
            ledger_bytes=await self._store.booked_bytes(self._database, account_id=account_id),
        )

    async def _size_of(self, key: str) -> int | None:
        try:
            return await self._storage.size_of(key)
        except ObjectMissing:
            return None
