"""Looking: what the sources say of one account, in an order that makes no false findings.

The bucket is read first, page by page, and after each page what the database knows between the same keys. An
object whose upload began since then is not in the page, and one that was uploaded before it has its row. The
figures are then read in one snapshot.
"""

from dataclasses import replace
from uuid import UUID

from jettythunder import folders
from jettythunder.database import Database
from jettythunder.storage import ObjectMissing, Storage
from usage_meter.accounts.model import Account
from usage_meter.reconciliation.model import (
    Findings,
    Objects,
    compare,
    compare_objects,
    compare_ownerless,
)
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
        objects = await self._objects(account.id, account.s3_prefix, itself=account.s3_prefix)
        async with self._database.transaction(isolation="repeatable_read", readonly=True) as snapshot:
            findings = compare(
                account,
                objects=objects,
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
        objects = await self._objects(account_id, folder, itself="")
        ledger_bytes = await self._store.booked_bytes(self._database, account_id=account_id)
        return compare_ownerless(account_id, objects=objects, ledger_bytes=ledger_bytes)

    async def _objects(self, account_id: UUID, folder: str, *, itself: str) -> Objects:
        """Bucket and database side by side: both give keys in one order, so a page of each is held at a time.

        Args:
            itself: the object that stands for the folder and is no asset's; empty where it counts as one.
        """
        found, after_key = Objects(), folder.removesuffix("/")
        async for listing in self._storage.list_pages(folder):
            if listing:
                until_key = max(listing)
                found += await self._between(account_id, after_key, until_key, listing, itself)
                after_key = until_key
        return found + await self._between(account_id, after_key, _after(folder), {}, itself)

    async def _between(
        self, account_id: UUID, after_key: str, until_key: str, listing: dict[str, int], itself: str
    ) -> Objects:
        found = Objects()
        pages = self._store.known_objects(
            self._database,
            account_id=account_id,
            bucket=self._storage.bucket,
            after_key=after_key,
            until_key=until_key,
        )
        async for page in pages:
            listed = {key: size for key, size in listing.items() if page.after_key < key <= page.until_key}
            found += compare_objects(itself, listing=listed, known=page.known)
        return found

    async def _size_of(self, key: str) -> int | None:
        try:
            return await self._storage.size_of(key)
        except ObjectMissing:
            return None


def _after(folder: str) -> str:
    """What comes right after all keys in a folder."""
    return folder.removesuffix("/") + chr(ord("/") + 1)
