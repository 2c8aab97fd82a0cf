"""Leases: an upload stays open for as long as somebody works on it, and expires soon after."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from uuid import UUID

from jettythunder.errors import UploadNotOpen
from jettythunder.lifecycle import Periodic
from storage_gateway.uploads.store import UploadStore


class Leases:
    """Renews the leases of the uploads that this gateway works on, all in one statement.

    Args:
        lease_seconds: how long an upload stays open after its last renewal.
    """

    def __init__(self, store: UploadStore, *, lease_seconds: int) -> None:
        self._store = store
        self.lease_seconds = lease_seconds
        # How many work on each: completions of one session may come several at once.
        self._held: Counter[UUID] = Counter()
        self._lost: set[UUID] = set()
        self._renewing = Periodic(
            "upload-leases",
            self._renew,
            interval_seconds=lease_seconds / 4,
            at_start=False,
            max_backoff_seconds=lease_seconds / 8,
        )

    def start(self) -> None:
        """Begin to renew."""
        self._renewing.start()

    async def close(self) -> None:
        """Stop renewing: what is still open expires."""
        await self._renewing.close()

    @contextlib.contextmanager
    def held(self, upload_id: UUID) -> Iterator[None]:
        """Keep an upload open while inside."""
        self._held[upload_id] += 1
        try:
            yield
        finally:
            self._held[upload_id] -= 1
            if not self._held[upload_id]:
                del self._held[upload_id]
                self._lost.discard(upload_id)

    def check(self, upload_id: UUID) -> None:
        """Raise UploadNotOpen where somebody closed the upload that is worked on."""
        if upload_id in self._lost:
            raise UploadNotOpen

    async def _renew(self) -> None:
        asked = list(self._held)
        if asked:
            still_open = await self._store.renew_leases(asked, lease_seconds=self.lease_seconds)
            self._lost |= self._held.keys() & (set(asked) - set(still_open))
