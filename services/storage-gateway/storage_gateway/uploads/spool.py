"""The spool: received chunks on their way to a chunk-worker, under a byte budget.

Guarantees given here: the chunks held never pass the budget, so a full spool stops the reading of client
sockets instead of filling memory or disk; a chunk's file has no name, so nothing is left of it when this
process goes, however it goes.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO
from uuid import UUID

from prometheus_client import Gauge

from jettythunder.errors import ChunkGone
from storage_gateway.errors import GatewayBusy, SpoolFull

BLOCK_BYTES = 1 << 20

_held = Gauge("jettythunder_spool_bytes", "Bytes of the spool's budget in use")


class SpoolBudget:
    """Bytes that may be held at once, granted first come, first served."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self.free_bytes = total_bytes
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, count: int, *, timeout_seconds: float) -> None:
        """Take ``count`` bytes, waiting until they are free.

        Raises:
            GatewayBusy: they did not become free in time.
        """
        if not self._waiting and count <= self.free_bytes:
            self._take(count)
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, turn))
        try:
            async with asyncio.timeout(timeout_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.release(count)
            else:
                # A release in between may have skipped this turn and removed it already.
                with contextlib.suppress(ValueError):
                    self._waiting.remove((count, turn))
                self._grant()
            if isinstance(error, TimeoutError):
                raise GatewayBusy from None
            raise

    def release(self, count: int) -> None:
        """Give bytes back."""
        self.free_bytes += count
        _held.set(self.total_bytes - self.free_bytes)
        self._grant()

    def _take(self, count: int) -> None:
        self.free_bytes -= count
        _held.set(self.total_bytes - self.free_bytes)

    def _grant(self) -> None:
        while self._waiting and self._waiting[0][0] <= self.free_bytes:
            count, turn = self._waiting.popleft()
            if not turn.done():
                self._take(count)
                turn.set_result(None)


class SpooledChunk:
    """One received chunk: small ones in memory, others in a nameless file."""

    def __init__(self, directory: Path, number: int, granted_bytes: int) -> None:
        self.number = number
        self.size_bytes = 0
        self.granted_bytes = granted_bytes
        self._directory = directory
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._memory = b""
        self._file: IO[bytes] | None = None
        self._readers = 0
        self._dropped = False

    @property
    def md5(self) -> str:
        return self._md5.hexdigest()

    def keeps_in_memory(self, block: bytes | bytearray) -> bool:
        """Whether the chunk, with this block, still needs no file."""
        return self._file is None and not self._memory and len(block) < BLOCK_BYTES

    def append(self, block: bytes | bytearray) -> None:
        """Add bytes. It writes to disk unless :meth:`keeps_in_memory`: call it in a thread then.

        Raises:
            SpoolFull: the disk is full.
        """
        self._md5.update(block)
        if self.keeps_in_memory(block):
            self._memory = bytes(block)
        else:
            try:
                if self._file is None:
                    self._file = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115
                    self._file.write(self._memory)
                    self._memory = b""
                self._file.write(block)
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise SpoolFull from error
                raise
        self.size_bytes += len(block)

    async def blocks(self) -> AsyncIterator[bytes]:
        """The chunk's bytes; may be read several times, also at once.

        Raises:
            ChunkGone: the chunk was dropped meanwhile.
        """
        if self._file is None:
            yield self._memory
            return
        self._readers += 1
        try:
            offset = 0
            while offset < self.size_bytes:
                if self._dropped:
                    raise ChunkGone
                block = await asyncio.to_thread(os.pread, self._file.fileno(), BLOCK_BYTES, offset)
                offset += len(block)
                yield block
        finally:
            self._readers -= 1
            self._close_if_unread()

    def drop(self) -> None:
        """Drop the bytes, once all who read them have finished."""
        self._dropped = True
        self._close_if_unread()

    def _close_if_unread(self) -> None:
        # A file descriptor closed under a reader could be another file's by the time it is read.
        if self._dropped and self._readers == 0 and self._file is not None:
            self._file.close()


class Spool:
    """All chunks this gateway holds."""

    def __init__(self, directory: Path, *, budget_bytes: int, timeout_seconds: float) -> None:
        self._directory = directory
        self._budget = SpoolBudget(budget_bytes)
        self._timeout_seconds = timeout_seconds
        self._chunks: dict[tuple[UUID, int], SpooledChunk] = {}

    async def add(self, upload_id: UUID, number: int, *, most_bytes: int) -> SpooledChunk:
        """Room for one chunk of up to ``most_bytes``; waits until there is some.

        Raises:
            GatewayBusy: there was none in time.
        """
        granted = min(most_bytes, self._budget.total_bytes)
        await self._budget.acquire(granted, timeout_seconds=self._timeout_seconds)
        chunk = SpooledChunk(self._directory, number, granted)
        self._chunks[upload_id, number] = chunk
        return chunk

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
            self._budget.release(chunk.granted_bytes)

    def drop_all(self, upload_id: UUID) -> None:
        """Drop all chunks of an upload."""
        for held_id, number in [key for key in self._chunks if key[0] == upload_id]:
            self.drop(held_id, number)
