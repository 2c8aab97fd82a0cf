"""What the database knows of stored bytes, from each side."""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

from jettythunder.database import Queries, Runner
from usage_meter.reconciliation.model import KnownObject, KnownPage, LedgerDrift, LostHold, Sources

_PAGE_SIZE = 2_000

_queries = Queries("usage_meter.reconciliation")
_bytes_by_source = _queries.one("bytes_by_source", Sources)
_list_known_objects = _queries.all("list_known_objects", KnownObject)
_list_ledger_drift = _queries.all("list_ledger_drift", LedgerDrift)
_list_lost_holds = _queries.all("list_lost_holds", LostHold)
_booked_bytes = _queries.one("booked_bytes", int)
_is_in_ledger = _queries.one("is_in_ledger", bool)
_request_deletions = _queries.run("request_deletions")
_restore_counters = _queries.run("restore_counters")


class ReconciliationStore:
    """Reads what is compared, and mends counters."""

    async def sources(self, on: Runner, *, account_id: UUID) -> Sources:
        """An account's counters, its ledger's sums, its open holds and its last hourly row."""
        return await _bytes_by_source(on, account_id=account_id)

    async def known_objects(
        self, on: Runner, *, account_id: UUID, bucket: str, after_key: str, until_key: str
    ) -> AsyncIterator[KnownPage]:
        """The objects that assets, open uploads and requested deletions account for, page by page.

        Those after a key and up to another. The pages have all keys between them, in their bytes' order.
        """
        while True:
            rows = await _list_known_objects(
                on,
                account_id=account_id,
                bucket=bucket,
                after_key=after_key,
                until_key=until_key,
                page_size=_PAGE_SIZE,
            )
            if len(rows) < _PAGE_SIZE:
                yield KnownPage(after_key, until_key, rows)
                return
            # A key may be known for several reasons, which belong on one page.
            whole = [row for row in rows if row.s3_key != rows[-1].s3_key]
            page = KnownPage(after_key, whole[-1].s3_key, whole)
            yield page
            after_key = page.until_key

    async def ledger_drift(self, on: Runner, *, account_id: UUID) -> list[LedgerDrift]:
        """Assets whose ledger entries don't add up to their size."""
        return await _list_ledger_drift(on, account_id=account_id)

    async def lost_holds(self, on: Runner, *, account_id: UUID, settle_seconds: float) -> list[LostHold]:
        """Holds of uploads that were completed longer ago than their events take."""
        return await _list_lost_holds(on, account_id=account_id, settle_seconds=settle_seconds)

    async def booked_bytes(self, on: Runner, *, account_id: UUID) -> int:
        """What an account stores by its ledger, also where the account is gone."""
        return await _booked_bytes(on, account_id=account_id)

    async def is_in_ledger(self, on: Runner, *, account_id: UUID) -> bool:
        """Whether anything was ever booked for an account."""
        return await _is_in_ledger(on, account_id=account_id)

    async def request_deletions(self, on: Runner, *, bucket: str, keys: Sequence[str]) -> None:
        """Ask the gateway's housekeeping to delete objects."""
        await _request_deletions(on, s3_bucket=bucket, s3_keys=keys)

    async def restore_counters(self, on: Runner, *, account_id: UUID, sources: Sources) -> None:
        """Set a locked account's counters to its ledger's sums."""
        await _restore_counters(
            on,
            account_id=account_id,
            storage_used=sources.ledger_bytes,
            storage_reserved=sources.ledger_reserved_bytes,
            bandwidth_used=sources.ledger_bandwidth_bytes,
            bandwidth_reserved=sources.ledger_bandwidth_reserved_bytes,
            requests=sources.ledger_request_count,
        )
