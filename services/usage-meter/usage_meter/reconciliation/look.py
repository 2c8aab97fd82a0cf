"""Looking: what the sources say of one account, in an order that makes no false findings.

The bucket is read first, page by page, and after each page what the database knows between the same keys. An
object whose upload began since then is not in the page, and one that was uploaded before it has its row. The
figures are then read in one snapshot. What each look found is kept, whoever asked for it.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

from jettythunder import folders
from jettythunder.database import Database
from jettythunder.storage import ObjectMissing, Storage
from usage_meter.accounts.model import Account
from usage_meter.accounts.store import AccountStore
from usage_meter.reconciliation.model import (
    Findings,
    Objects,
    compare,
    compare_objects,
    compare_ownerless,
)
from usage_meter.reconciliation.queue import ReconciliationQueue
from usage_meter.reconciliation.store import ReconciliationStore


class Looking:
    """Looks at accounts, and at folders whose account is gone.

    Args:
        settle_seconds: how long after an upload's completion its event should be booked.
    """

    def __init__(
        self,
        database: Database,
        storage: Storage,
        *,
        accounts: AccountStore,
        store: ReconciliationStore,
        queue: ReconciliationQueue,
        settle_seconds: float,
    ) -> None:
        self._database = database
        self._storage = storage
        self._accounts = accounts
        self._store = store
        self._queue = queue
        self._settle_seconds = settle_seconds

    async def at_account(self, account: Account) -> Findings:
        """What disagrees on an account."""
        await self._queue.begin_look(self._database, account_id=account.id)
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
        missing = tuple(m for m in asked if m.found_bytes != m.size_bytes)
        return await self._noted(replace(findings, missing=missing))

    async def at_ownerless(self, account_id: UUID) -> Findings | None:
        """What lies in the folder of an account that is gone; None where there is such an account."""
        if not await self._accounts.missing(self._database, account_ids=[account_id]):
            return None
        await self._queue.begin_look(self._database, account_id=account_id)
        objects = await self._objects(account_id, folders.folder_of(account_id), itself="")
        ledger_bytes = await self._store.booked_bytes(self._database, account_id=account_id)
        return await self._noted(compare_ownerless(account_id, objects=objects, ledger_bytes=ledger_bytes))

    async def ownerless(self, *, after: UUID | None = None, until: UUID | None = None) -> AsyncIterator[UUID]:
        """Accounts that are gone and have a folder: all, or those after one id and up to another."""
        start_after = "" if after is None else folders.end_of(folders.folder_of(after))
        async for page in self._storage.list_folders(folders.FOLDERS, start_after=start_after):
            ids = [account_id for account_id in map(folders.account_of, page) if account_id is not None]
            wanted = [account_id for account_id in ids if until is None or account_id <= until]
            for account_id in await self._accounts.missing(self._database, account_ids=wanted):
                yield account_id
            if len(wanted) < len(ids):
                return

    async def _noted(self, findings: Findings) -> Findings:
        await self._queue.note(self._database, findings)
        return findings

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
        return found + await self._between(account_id, after_key, folders.end_of(folder), {}, itself)

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
