"""Forgetting uploads that were closed long ago, so that an account's past costs no more and more rows."""

from typing import Protocol

_BATCH_SIZE = 100


class ClosedUploads(Protocol):
    """Where closed uploads are kept."""

    async def forget_closed(self, *, keep_days: int, batch_size: int) -> int: ...


class Retention:
    """Removes the rows of closed uploads.

    Args:
        keep_days: for how long after its end an upload is kept.
    """

    def __init__(self, uploads: ClosedUploads, *, keep_days: int) -> None:
        self._uploads = uploads
        self._keep_days = keep_days

    async def forget_closed(self) -> float | None:
        """Remove a page of them; at once again where there may be more."""
        forgotten = await self._uploads.forget_closed(keep_days=self._keep_days, batch_size=_BATCH_SIZE)
        return 0 if forgotten == _BATCH_SIZE else None
