"""Reading a file by slices, in threads, without ever holding a chunk as a whole."""

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from jettythunder_client.config import BLOCK_BYTES
from jettythunder_client.errors import FileChanged, FileUnreadable
from jettythunder_client.rate_limit import RateLimit
from jettythunder_client.state import FileIdentity, identify

_THREADS = 6


class SmallFile:
    """A file of one block, read at once: it keeps no descriptor open, and needs no threads of its own."""

    def __init__(self, path: Path, limit: RateLimit) -> None:
        self.path = path
        self._limit = limit
        self.identity, self._content = _read_whole(path)

    @property
    def unlimited(self) -> bytes | None:
        """All of it, where no rate limit holds."""
        return self._content if self._limit.bytes_per_second is None else None

    def check_unchanged(self) -> None:
        """Make sure that the file is the one it was.

        Raises:
            FileChanged: it is not.
        """
        if identify(self.path) != self.identity:
            raise FileChanged(f"{self.path} has changed since its upload began. Upload it anew.")

    async def slices(
        self, offset: int, length: int, sent: Callable[[int], None]
    ) -> AsyncIterator[memoryview]:
        """The bytes of a range, as `FileSource.slices` gives them."""
        done = 0
        async for piece in self._limit.pieces(memoryview(self._content)[offset : offset + length]):
            yield piece
            done += len(piece)
            sent(done)


class FileSource:
    """A file, opened for reading at any place, and watched for changes.

    It reads in threads of its own. They have ended before the file is closed, so that none reads from a
    descriptor that belongs to another file by then.
    """

    def __init__(self, path: Path, limit: RateLimit) -> None:
        self.path = path
        self._limit = limit
        self.identity = identify(path)
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="file")
        self._closing = False
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise FileUnreadable(f"{path} can't be read: {error.strerror}.") from None

    @property
    def unlimited(self) -> None:
        """It is never held as a whole."""
        return None

    def __enter__(self) -> "FileSource":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing = True
        self._executor.shutdown(wait=True, cancel_futures=True)
        os.close(self._descriptor)

    def check_unchanged(self, known: FileIdentity | None = None) -> None:
        """Make sure that the file is the one it was.

        Raises:
            FileChanged: it is not.
        """
        if identify(self.path) != (known or self.identity):
            raise FileChanged(f"{self.path} has changed since its upload began. Upload it anew.")

    async def slices(
        self, offset: int, length: int, sent: Callable[[int], None]
    ) -> AsyncIterator[memoryview]:
        """The bytes of a range, as fast as the rate limit lets them go.

        ``sent`` is called after each slice with how many were taken by then.
        """
        loop = asyncio.get_running_loop()
        done = 0
        while done < length:
            wanted = min(BLOCK_BYTES, length - done)
            block = await loop.run_in_executor(self._executor, self._read, offset + done, wanted)
            async for piece in self._limit.pieces(block):
                yield piece
                done += len(piece)
                sent(done)

    async def md5(self, offset: int, length: int) -> bytes:
        """The MD5 of a range, as S3 and RFC 1864 name it."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._digest, "md5", offset, length)

    async def sha256(self) -> str:
        """The SHA-256 of the whole file, hexadecimal."""
        loop = asyncio.get_running_loop()
        size = self.identity.size_bytes
        return (await loop.run_in_executor(self._executor, self._digest, "sha256", 0, size)).hex()

    def _digest(self, name: str, offset: int, length: int) -> bytes:
        digest = hashlib.new(name, usedforsecurity=False)
        done = 0
        while done < length:
            if self._closing:
                raise FileUnreadable(f"{self.path} was closed.")
            block = self._read(offset + done, min(BLOCK_BYTES, length - done))
            digest.update(block)
            done += len(block)
        return digest.digest()

    def _read(self, offset: int, length: int) -> bytes:
        """Exactly so many bytes; a file that became shorter has changed."""
        block = os.pread(self._descriptor, length, offset)
        while len(block) < length:
            more = os.pread(self._descriptor, length - len(block), offset + len(block))
            if not more:
                raise FileChanged(f"{self.path} became shorter while it was uploaded. Upload it anew.")
            block += more
        return block


def _read_whole(path: Path) -> tuple[FileIdentity, bytes]:
    identity = identify(path)
    try:
        with path.open("rb") as file:
            content = file.read(BLOCK_BYTES + 1)
    except OSError as error:
        raise FileUnreadable(f"{path} can't be read: {error.strerror}.") from None
    if len(content) != identity.size_bytes:
        raise FileChanged(f"{path} changed while it was read. Upload it anew.")
    return identity, content


def content_md5(digest: bytes) -> str:
    """The value of a Content-MD5 header (RFC 1864)."""
    return base64.b64encode(digest).decode()
