"""The store: blocks under a byte budget, the least recently used contents evicted first.

Guarantees given here: a block is given only as it was stored, by its checksum; a content that is read or
pinned is not evicted; the budget and the least free space hold at every write.
"""

import asyncio
import hashlib
import logging
import os
import sqlite3
import zlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import TypeVar

from jettythunder_cdn.errors import StoreUnusable
from jettythunder_cdn.figures import Figures
from jettythunder_cdn.model import Asset
from jettythunder_cdn.store.disk import Disk
from jettythunder_cdn.store.index import Block, Index

Value = TypeVar("Value")

log = logging.getLogger(__name__)

_CHECKED_AGAIN_SECONDS = 3600.0
_CHECKED_REMEMBERED = 4_000
_THREADS = 4
_SHELVES = [f"{number:02x}" for number in range(256)]
_CHECK_BYTES = 256 * 1024


@dataclass(frozen=True)
class Budget:
    """What the store may take of the disk."""

    bytes: int
    min_free_bytes: int


class Store:
    """Blocks of contents. Call it from one event loop; close it."""

    def __init__(
        self, index: Index, disk: Disk, budget: Budget, *, figures: Figures, clock: Callable[[], float]
    ) -> None:
        self.index = index
        self.budget = budget
        self._disk = disk
        self._figures = figures
        self._clock = clock
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="store")
        self._held: Counter[str] = Counter()
        self._used: dict[str, float] = {}
        self._checked: OrderedDict[tuple[str, int], tuple[int, int, float]] = OrderedDict()
        self._writing_bytes = 0
        self._evicting = asyncio.Lock()
        self.allocated_bytes = 0
        self.is_full = False
        """Whether the last block found no room, even by evicting others."""

    def repair(self) -> None:
        """Bring index and disk together after whatever happened: only blocks that both have stay."""
        # One shelf at a time: all blocks of a large cache are many for the memory.
        for shelf in {*self._disk.shelves(), *_SHELVES}:
            self._repair(shelf)
        self._disk.remove_empty()
        self.allocated_bytes = self.index.allocated_bytes()

    def _repair(self, shelf: str) -> None:
        blocks = self.index.all_blocks(shelf) if shelf in _SHELVES else ()
        known = {(content, block.number): block.size_bytes for content, block in blocks}
        for content, file, size_bytes in self._disk.scan(shelf):
            number = int(file.name) if file.name.isdecimal() and file.name.isascii() else -1
            if known.get((content, number)) == size_bytes:
                del known[content, number]
            else:
                file.unlink(missing_ok=True)
        self.index.forget_blocks(known)

    def close(self) -> None:
        """Finish what is being written, and close the index."""
        self._executor.shutdown(wait=True)
        with suppress(sqlite3.OperationalError):
            self.flush()
        self.index.close()

    def flush(self) -> None:
        """Write down when contents were used, and the day's figures.

        Raises:
            sqlite3.OperationalError: the index can't be written; what was not written down is kept for later.
        """
        if self._used:
            self.index.touch(self._used.items())
            self._used = {}
        hit, fetched = self._figures.unnoted
        if hit or fetched:
            day = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
            self.index.add_day(day, hit_bytes=hit, upstream_bytes=fetched)
            self._figures.note()

    @contextmanager
    def held(self, content: str) -> Iterator[None]:
        """Keep a content from being evicted while inside, and note that it is used."""
        self._used[content] = self._clock()
        self._held[content] += 1
        try:
            yield
        finally:
            self._held[content] -= 1
            if not self._held[content]:
                del self._held[content]

    async def open_block(self, content: str, number: int) -> FileIO | None:
        """A block's file, its checksum compared; None where there is no such block, or it was damaged."""
        while (block := self.index.block(content, number)) is not None:
            try:
                file = FileIO(self._disk.path(content, number))
            except OSError:
                self._drop_block(content, block)
                return None
            try:
                if await self._is_sound(content, block, file):
                    return file
            except BaseException:
                file.close()
                raise
            file.close()
            if self.index.block(content, number) == block:
                log.warning("a block was damaged on the disk and is fetched again")
                self._figures.damaged_blocks += 1
                self._drop_block(content, block)
                return None
            # Another reader has found that too, and had it fetched again.
        return None

    async def _is_sound(self, content: str, block: Block, file: FileIO) -> bool:
        """Whether the file has the bytes that were stored: read once, then believed while it is unchanged."""
        found = os.fstat(file.fileno())
        key = content, block.number
        modified, inode, checked_at = self._checked.get(key, (0, 0, 0.0))
        now = self._clock()
        if (found.st_mtime_ns, found.st_ino) == (modified, inode) and (
            0 <= now - checked_at < _CHECKED_AGAIN_SECONDS
        ):
            return found.st_size == block.size_bytes
        if found.st_size != block.size_bytes or await self._run(_crc, file) != block.crc:
            return False
        self._checked[key] = found.st_mtime_ns, found.st_ino, now
        self._checked.move_to_end(key)
        if len(self._checked) > _CHECKED_REMEMBERED:
            self._checked.popitem(last=False)
        return True

    async def write_block(self, asset: Asset, number: int, block: bytes | bytearray) -> bool:
        """Keep a block; False where there is no room for it, or the disk fails."""
        with self.held(asset.content):
            return await self._write_block(asset, number, block)

    async def _write_block(self, asset: Asset, number: int, block: bytes | bytearray) -> bool:
        content, size_bytes = asset.content, len(block)
        self._writing_bytes += size_bytes
        try:
            self.is_full = not await self._make_room()
            if self.is_full:
                self._figures.unstored_blocks += 1
                return False
            self.index.open_content(asset, self._clock())
            try:
                allocated, crc = await self._run(self._write, content, number, block)
            except OSError as error:
                log.warning("a block could not be kept: %s", error.strerror)
                self._figures.unstored_blocks += 1
                return False
            if self.index.content(content) is None:
                # It was dropped while this block was written.
                await self._run(self._disk.remove, content, number)
                return False
            if (old := self.index.block(content, number)) is not None:
                self.allocated_bytes -= old.allocated_bytes
            self.index.put_block(content, Block(number, size_bytes, crc, allocated))
            self.allocated_bytes += allocated
            self._checked.pop((content, number), None)
        except sqlite3.OperationalError as error:
            # The disk is full for the index too.
            log.warning("a block could not be noted: %s", error)
            self._figures.unstored_blocks += 1
            await self._run(self._disk.remove, content, number)
            return False
        else:
            return True
        finally:
            self._writing_bytes -= size_bytes

    def _write(self, content: str, number: int, block: bytes | bytearray) -> tuple[int, int]:
        return self._disk.write(content, number, block), zlib.crc32(block)

    def has_room(self) -> bool:
        """Whether the budget and the disk allow what is being written."""
        return (
            self.allocated_bytes + self._writing_bytes <= self.budget.bytes
            and self._disk.free_bytes() - self._writing_bytes >= self.budget.min_free_bytes
        )

    async def _make_room(self) -> bool:
        """Evict until what is being written fits; False where it does not."""
        if self.has_room():
            return True
        async with self._evicting:
            with suppress(sqlite3.OperationalError):
                self.flush()
            for content in self.index.evictable():
                if self.has_room():
                    break
                if not self._held[content]:
                    self._figures.evicted_contents += 1
                    await self.drop(content)
            return self.has_room()

    async def drop(self, content: str) -> None:
        """Remove a content with its blocks; its rows first, so that no block is looked for in vain."""
        try:
            self.allocated_bytes -= self.index.forget_content(content)
        except sqlite3.OperationalError:
            # On a full disk rows can be removed once the blocks have made room.
            await self._run(self._disk.remove_all, content)
            self.allocated_bytes -= self.index.forget_content(content)
        else:
            await self._run(self._disk.remove_all, content)

    async def clear(self) -> int:
        """Remove everything that is not pinned; the bytes that this freed."""
        before = self.allocated_bytes
        while contents := [*self.index.evictable()]:
            for content in contents:
                await self.drop(content)
        return before - self.allocated_bytes

    async def verify(self, asset: Asset) -> bool | None:
        """Compare a whole content with its hash; None without one, or where a block is missing or damaged."""
        content = self.index.content(asset.content)
        if content is None or asset.sha256 is None:
            return None
        if content.verified:
            return True
        with self.held(asset.content):
            digest = await self.sha256(asset)
            if digest is None:
                return None
            if digest == asset.sha256:
                self.index.mark_verified(asset.content)
                return True
            if await self._drop_damaged(asset):
                return None
        log.error("a content had another hash than the gateway says, and was dropped")
        self._figures.wrong_hashes += 1
        await self.drop(asset.content)
        return False

    async def _drop_damaged(self, asset: Asset) -> bool:
        """Drop the blocks that were damaged on the disk; whether there were any."""
        found = False
        for number in range(asset.block_count):
            if (file := await self.open_block(asset.content, number)) is None:
                found = True
            else:
                file.close()
        return found

    async def sha256(self, asset: Asset) -> str | None:
        """The hash of the bytes that are kept; None where some are missing."""
        if self.index.block_count(asset.content) != asset.block_count:
            return None
        paths = (self._disk.path(asset.content, number) for number in range(asset.block_count))
        try:
            return await self._run(_sha256, paths)
        except OSError:
            return None

    async def rename(self, old: str, new: str) -> None:
        """Give a content the name that its verified hash is; one of that name wins."""
        if self.index.content(old) is None:
            return
        if self.index.content(new) is None and not self._held[old] and self._disk.move(old, new):
            self.index.rename_content(old, new)
        elif not self.index.is_named(old):
            await self.drop(old)

    def _drop_block(self, content: str, block: Block) -> None:
        self._checked.pop((content, block.number), None)
        self._disk.remove(content, block.number)
        # On a full disk the row stays, and leads to no file.
        with suppress(sqlite3.OperationalError):
            self.index.forget_block(content, block.number)
            self.allocated_bytes -= block.allocated_bytes

    async def _run(self, work: Callable[..., Value], *arguments: object) -> Value:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)


def open_store(
    folder: Path, budget: Budget, *, figures: Figures, clock: Callable[[], float], disk: Disk | None = None
) -> Store:
    """The store of a folder, repaired.

    Raises:
        StoreUnusable: the disk is full, or does not let it be opened.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        index = Index(folder / "index.sqlite")
        store = Store(index, disk or Disk(folder), budget, figures=figures, clock=clock)
        store.repair()
    except sqlite3.OperationalError as error:
        raise StoreUnusable(f"The cache's index in {folder} can't be opened: {error}.") from None
    return store


def _crc(file: FileIO) -> int:
    crc = 0
    file.seek(0)
    while piece := file.read(_CHECK_BYTES):
        crc = zlib.crc32(piece, crc)
    return crc


def _sha256(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_CHECK_BYTES):
                digest.update(piece)
    return digest.hexdigest()
