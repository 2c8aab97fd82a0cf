"""The spool: received chunks on their way to a chunk-worker, under a byte budget.

Guarantees given here: the bytes held never pass the budget, so a full spool stops the reading of client
sockets instead of filling memory or disk; what is charged is what has arrived; an upload that was let in
always goes on in the end; a chunk's file has no name, so nothing is left of it when this process goes,
however it goes.
"""

import asyncio
import errno
import os
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import UUID

from prometheus_client import Gauge

from jettythunder.checksums import Algorithm, Checksum, Hasher
from jettythunder.errors import ChunkGone
from jettythunder.http.sending import SendFile
from storage_gateway.errors import GatewayBusy, SpoolFull

BLOCK_BYTES = 1 << 20
# After so many bytes it is looked whether the chunk is still wanted.
_SENT_AT_ONCE_BYTES = 8 << 20
_RETRY_AFTER_SECONDS = 2
# What one call of writev takes on Linux (IOV_MAX).
_MOST_PIECES = 1024

_held = Gauge("jettythunder_spool_bytes", "Bytes of the spool's budget in use")
_budget = Gauge("jettythunder_spool_budget_bytes", "Bytes that the spool may hold")


@dataclass(eq=False)
class Holding:
    """The bytes that one chunk holds of the budget. It holds a chunk's size at most."""

    account_id: UUID
    held_bytes: int = 0


@dataclass(eq=False)
class _Wait:
    holding: Holding
    count: int
    turn: asyncio.Future[None]


class SpoolBudget:
    """Bytes that may be held at once, granted first come, first served.

    An account may hold as much as is left free after it, and ``account_share`` of the whole: so a few
    accounts never fill the spool for the others.

    Chunks are granted bytes as they arrive, so many of them could fill the budget with none complete.
    Therefore room for one whole chunk is kept back: where nothing else is left, the chunk that has waited
    longest alone takes its bytes from there until it is complete, stored and dropped. In the same way one
    chunk of an account goes on when the account has used up its share.

    Args:
        chunk_bytes: the most that one chunk holds; the budget is at least twice as large.
    """

    def __init__(self, total_bytes: int, *, chunk_bytes: int, account_share: float) -> None:
        self.total_bytes = total_bytes
        self.free_bytes = total_bytes
        self._kept_back_bytes = chunk_bytes
        self._account_bytes = int(total_bytes * account_share)
        self._by_account: Counter[UUID] = Counter()
        self._waiting: dict[_Wait, None] = {}
        self._beyond_total: Holding | None = None
        self._beyond_share: dict[UUID, Holding] = {}
        _budget.set(total_bytes)

    async def take(self, holding: Holding, count: int, *, timeout_seconds: float | None = None) -> None:
        """Take ``count`` bytes for a chunk, waiting until they are free.

        Raises:
            GatewayBusy: they did not become free in time.
        """
        if not self._waiting and self._is_within_share(holding, count) and self._is_within_total(count):
            self._grant(holding, count)
            return
        wait = _Wait(holding, count, asyncio.get_running_loop().create_future())
        self._waiting[wait] = None
        self._grant_waiting()
        try:
            async with asyncio.timeout(timeout_seconds):
                await wait.turn
        except TimeoutError:
            raise GatewayBusy(retry_after_seconds=_RETRY_AFTER_SECONDS) from None
        finally:
            if self._waiting.pop(wait, wait) is None:
                # Others may have waited behind it.
                self._grant_waiting()

    def release(self, holding: Holding) -> None:
        """Give all bytes of a chunk back."""
        account_id = holding.account_id
        self.free_bytes += holding.held_bytes
        self._by_account[account_id] -= holding.held_bytes
        if not self._by_account[account_id]:
            del self._by_account[account_id]
        holding.held_bytes = 0
        if self._beyond_total is holding:
            self._beyond_total = None
        if self._beyond_share.get(account_id) is holding:
            del self._beyond_share[account_id]
        self._note()
        self._grant_waiting()

    def _grant_waiting(self) -> None:
        is_full = False
        for wait in list(self._waiting):
            if wait.turn.done():
                # Its task was cancelled, or waited too long, and has not run since.
                continue
            holding, count = wait.holding, wait.count
            goes_beyond = self._beyond_total is holding
            if is_full and not goes_beyond:
                continue
            if not (goes_beyond or self._is_within_share(holding, count) or self._goes_beyond_share(holding)):
                # Who waits for its own account holds up nobody else.
                continue
            if not self._is_within_total(count):
                if self._beyond_total is None:
                    self._beyond_total = holding
                elif not goes_beyond:
                    is_full = True
                    continue
            del self._waiting[wait]
            self._grant(holding, count)
            wait.turn.set_result(None)

    def _goes_beyond_share(self, holding: Holding) -> bool:
        return self._beyond_share.setdefault(holding.account_id, holding) is holding

    def _is_within_share(self, holding: Holding, count: int) -> bool:
        after = self._by_account[holding.account_id] + count
        return after <= min(self._account_bytes, self.free_bytes - count)

    def _is_within_total(self, count: int) -> bool:
        return count <= self.free_bytes - self._kept_back_bytes

    def _grant(self, holding: Holding, count: int) -> None:
        holding.held_bytes += count
        self._by_account[holding.account_id] += count
        self.free_bytes -= count
        self._note()

    def _note(self) -> None:
        _held.set(self.total_bytes - self.free_bytes)


class SpooledChunk:
    """One received chunk: small ones in memory, others in a nameless file."""

    def __init__(
        self, directory: Path, number: int, holding: Holding, *, most_bytes: int, algorithm: Algorithm
    ) -> None:
        self.number = number
        self.most_bytes = most_bytes
        self.size_bytes = 0
        self.holding = holding
        self._directory = directory
        self._hasher = Hasher(algorithm)
        self._memory = b""
        self._file: IO[bytes] | None = None
        self._users = 0
        self._dropped = False

    @property
    def checksum(self) -> Checksum:
        """The checksum of what has arrived."""
        return self._hasher.checksum()

    def keeps_in_memory(self, size_bytes: int) -> bool:
        """Whether the chunk, with so many bytes more, still needs no file."""
        return self._file is None and not self._memory and size_bytes < BLOCK_BYTES

    def append(self, block: Sequence[memoryview]) -> None:
        """Add the bytes of these pieces. It writes to disk unless :meth:`keeps_in_memory`: call it in a
        thread then, with the chunk :meth:`in_use`.

        Raises:
            SpoolFull: the disk is full.
        """
        size_bytes = sum(map(len, block))
        for piece in block:
            self._hasher.update(piece)
        if self.keeps_in_memory(size_bytes):
            self._memory = b"".join(block)
        else:
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
                    _write_all(self._file, [memoryview(self._memory)])
                    self._memory = b""
                _write_all(self._file, block)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise SpoolFull from error
                raise
        self.size_bytes += size_bytes

    async def blocks(self) -> AsyncIterator[bytes]:
        """The chunk's bytes; may be read several times, also at once.

        Raises:
            ChunkGone: the chunk was dropped meanwhile.
        """
        if self._file is None:
            yield self._memory
            return
        with self.in_use():
            for offset in range(0, self.size_bytes, BLOCK_BYTES):
                self._check_held()
                yield await asyncio.to_thread(os.pread, self._file.fileno(), BLOCK_BYTES, offset)

    async def send(self, send_file: SendFile) -> bool:
        """Have the kernel send the chunk's file; False where it has none.

        Raises:
            ChunkGone: the chunk was dropped meanwhile.
        """
        if self._file is None:
            return False
        with self.in_use():
            for offset in range(0, self.size_bytes, _SENT_AT_ONCE_BYTES):
                self._check_held()
                count = min(_SENT_AT_ONCE_BYTES, self.size_bytes - offset)
                await send_file(self._file.fileno(), offset, count)
        return True

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the file open though the chunk be dropped: a descriptor that is closed while a thread uses it
        could be another file's by then."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._close_if_unused()

    def drop(self) -> None:
        """Drop the bytes, once nobody uses them any more."""
        self._dropped = True
        self._close_if_unused()

    def _check_held(self) -> None:
        if self._dropped:
            raise ChunkGone

    def _close_if_unused(self) -> None:
        if self._dropped and self._users == 0 and self._file is not None:
            self._file.close()


def _write_all(file: IO[bytes], pieces: Sequence[memoryview]) -> None:
    left = [piece for piece in pieces if piece]
    while left:
        # Where the disk is about to be full, some of it is written without an error.
        written = os.writev(file.fileno(), left[:_MOST_PIECES])
        while left and written >= len(left[0]):
            written -= len(left.pop(0))
        if written:
            left[0] = left[0][written:]


class Spool:
    """All chunks this gateway holds."""

    def __init__(self, directory: Path, budget: SpoolBudget) -> None:
        self._directory = directory
        self._budget = budget
        self._chunks: dict[tuple[UUID, int], SpooledChunk] = {}

    def add(
        self, upload_id: UUID, number: int, *, account_id: UUID, most_bytes: int, algorithm: Algorithm
    ) -> SpooledChunk:
        """A chunk that holds nothing yet, and will hold ``most_bytes`` at most."""
        chunk = SpooledChunk(
            self._directory, number, Holding(account_id), most_bytes=most_bytes, algorithm=algorithm
        )
        self._chunks[upload_id, number] = chunk
        return chunk

    async def make_room(
        self, chunk: SpooledChunk, size_bytes: int, *, timeout_seconds: float | None = None
    ) -> None:
        """Hold room for the first ``size_bytes`` of a chunk; waits until there is some.

        Raises:
            GatewayBusy: there was none in time.
        """
        missing = size_bytes - chunk.holding.held_bytes
        if missing > 0:
            await self._budget.take(chunk.holding, missing, timeout_seconds=timeout_seconds)

    def find(self, upload_id: UUID, number: int) -> SpooledChunk:
        """A chunk that is held.

        Raises:
            ChunkGone: it is not, or not any more.
        """
        chunk = self._chunks.get((upload_id, number))
        if chunk is None:
            raise ChunkGone
        return chunk

    def drop(self, upload_id: UUID, number: int) -> None:
        """Drop a chunk; one that is gone is fine."""
        chunk = self._chunks.pop((upload_id, number), None)
        if chunk is not None:
            chunk.drop()
            self._budget.release(chunk.holding)

    def drop_all(self, upload_id: UUID) -> None:
        """Drop all chunks of an upload."""
        for held_id, number in [key for key in self._chunks if key[0] == upload_id]:
            self.drop(held_id, number)
