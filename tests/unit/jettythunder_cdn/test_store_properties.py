"""The cache against a model of it: whatever happens to disk and gateway, no reader gets a wrong byte."""

from __future__ import annotations

import asyncio
import errno
import random
import sqlite3
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.cdn import ACCOUNT, Bytes, Clock, Shelf, asset_of

from jettythunder_cdn.errors import Refused
from jettythunder_cdn.figures import Figures
from jettythunder_cdn.model import BLOCK_BYTES, Span
from jettythunder_cdn.reading.cache import Cache
from jettythunder_cdn.store.disk import Disk
from jettythunder_cdn.store.store import Budget, open_store
from jettythunder_client.errors import ClientError

CONTENTS = {
    "empty": Bytes(0),
    "small": Bytes(1000, seed=1),
    "block": Bytes(BLOCK_BYTES, seed=2),
    "film": Bytes(4 * BLOCK_BYTES + 77, seed=3),
    "long": Bytes(11 * BLOCK_BYTES + 1, seed=4),
}
BUDGET = Budget(8 * BLOCK_BYTES, min_free_bytes=0)


@dataclass
class Faults:
    """What the disk does."""

    full: bool = False
    kill_before_rename: bool = False
    kill_after_rename: bool = False
    was_killed: bool = False


class FaultyDisk(Disk):
    """A disk that fills up, and on which the process is killed."""

    def __init__(self, folder: Path, faults: Faults) -> None:
        super().__init__(folder)
        self._faults = faults

    def write(self, content: str, number: int, block: bytes | bytearray) -> int:
        if self._faults.was_killed:
            raise OSError(errno.EIO, "The process was killed")
        if self._faults.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(content, number, block)

    def rename(self, draft: Path, name: Path) -> None:
        if self._faults.kill_before_rename:
            self._faults.was_killed = True
            # As a kill leaves it: the draft stays, and whoever waits never hears of it.
            draft.replace(draft.with_name(f"{draft.name}.left"))
            raise OSError(errno.EIO, "The process was killed")
        super().rename(draft, name)
        if self._faults.kill_after_rename:
            self._faults.was_killed = True
            raise OSError(errno.EIO, "The process was killed")


@dataclass
class Collected:
    """A reader that keeps what it gets."""

    body: bytearray = field(default_factory=bytearray)

    async def write(self, piece: bytes) -> None:
        self.body += piece

    async def send_file(self, file: FileIO, offset: int, count: int) -> None:
        file.seek(offset)
        self.body += file.read(count)


@dataclass
class World:
    """One cache on one folder, and everything that may happen to it."""

    folder: Path
    shelf: Shelf = field(default_factory=Shelf)
    clock: Clock = field(default_factory=Clock)
    faults: Faults = field(default_factory=Faults)
    granted_at: dict[str, float] = field(default_factory=dict)
    locking: sqlite3.Connection | None = None

    def __post_init__(self) -> None:
        for name, content in CONTENTS.items():
            self.shelf.put(asset_of(content, asset_id=name), content)
        self.open()

    def open(self) -> None:
        self.faults = Faults()
        disk = FaultyDisk(self.folder, self.faults)
        figures = Figures()
        store = open_store(self.folder, BUDGET, figures=figures, clock=self.clock, disk=disk)
        self.cache = Cache(self.shelf, store, figures=figures, offline_seconds=3600, clock=self.clock)
        self.check_disk()

    def lock_index(self, *, locked: bool) -> None:
        """Let nothing be written to the index, as on a full disk."""
        if locked and self.locking is None:
            self.locking = sqlite3.connect(self.folder / "index.sqlite", isolation_level=None)
            self.locking.execute("BEGIN IMMEDIATE")
        elif not locked and self.locking is not None:
            self.locking.close()
            self.locking = None

    async def reopen(self) -> None:
        self.lock_index(locked=False)
        await self.cache.close()
        self.cache.store.close()
        self.open()

    def check_disk(self) -> None:
        """Index and files say the same."""
        files = {(content, int(file.name)): size for content, file, size in Disk(self.folder).scan()}
        rows = {
            (content, block.number): block.size_bytes
            for content, block in self.cache.store.index.all_blocks()
        }
        assert files == rows
        assert self.cache.store.allocated_bytes == self.cache.store.index.allocated_bytes()

    async def read(self, name: str, start: int, length: int, *, hang_up_after: int | None = None) -> None:
        """Read a range; it is right to the byte, or the reader knows that it is not whole."""
        content = CONTENTS[name]
        reader = Collected()
        looks = self.shelf.looks
        try:
            asset, freshness = await self.cache.asset(name, ACCOUNT)
            if self.shelf.looks > looks and freshness != "stale":
                self.granted_at[name] = self.clock.now
            age = self.clock.now - self.granted_at[name]
            assert age <= (3600 if freshness == "stale" else 60)
            if content.size_bytes == 0:
                return
            start = min(start, content.size_bytes - 1)
            span = Span(start, min(start + length, content.size_bytes) - 1)
            with self.cache.read(asset, ACCOUNT, span, freshness) as reading:
                await reading.prepare()
                if hang_up_after is None:
                    await reading.send(reader)
        except ClientError as error:
            expected = content.read(start, start + len(reader.body))
            assert self.shelf.flip or bytes(reader.body) == expected
            assert self.shelf.is_down or self.shelf.refusal or self.faults.was_killed
            if isinstance(error, Refused):
                # What the account is refused for one asset, it is refused for all.
                self.granted_at.clear()
                assert self.locking or self.cache.store.index.granted_at(ACCOUNT.id, name) is None
            return
        if hang_up_after is None and not self.shelf.flip:
            assert bytes(reader.body) == content.read(span.start, span.end + 1)

    async def settle(self) -> None:
        await self.cache.settled()
        assert self.cache.flights.readers == 0
        assert self.cache.store.allocated_bytes <= BUDGET.bytes
        assert self.cache.store.allocated_bytes == self.cache.store.index.allocated_bytes()

    def files(self) -> list[Path]:
        """The blocks on the disk."""
        return sorted(file for _, file, _ in Disk(self.folder).scan() if file.name.isdecimal())

    def damage(self, pick: int) -> None:
        """Flip a bit of a block on the disk."""
        files = [file for file in self.files() if file.stat().st_size]
        if files:
            file = files[pick % len(files)]
            found = bytearray(file.read_bytes())
            found[pick % len(found)] ^= 1
            file.write_bytes(found)

    def lose(self, pick: int) -> None:
        """Remove a block, or cut it, behind the cache's back."""
        files = self.files()
        if files:
            file = files[pick % len(files)]
            if pick % 2:
                file.unlink()
            else:
                file.write_bytes(file.read_bytes()[: pick % 1000])


READS = st.tuples(
    st.just("read"),
    st.sampled_from(sorted(CONTENTS)),
    st.integers(0, 12 * BLOCK_BYTES),
    st.integers(1, 12 * BLOCK_BYTES),
)
EVENTS = st.one_of(
    READS,
    READS,
    st.tuples(st.just("together"), st.lists(READS, min_size=2, max_size=5)),
    st.tuples(st.just("hang_up"), READS),
    st.tuples(st.just("damage"), st.integers(0, 10**6)),
    st.tuples(st.just("lose"), st.integers(0, 10**6)),
    st.tuples(st.just("full"), st.booleans()),
    st.tuples(st.just("kill"), st.booleans(), READS),
    st.tuples(st.just("restart")),
    st.tuples(st.just("lock"), st.booleans()),
    st.tuples(st.just("clear")),
    st.tuples(st.just("down"), st.booleans()),
    st.tuples(st.just("refuse"), st.sampled_from([None, 401, 403])),
    st.tuples(st.just("later"), st.sampled_from([1.0, 61.0, 4000.0])),
)


async def happen(world: World, event: tuple[object, ...]) -> None:  # noqa: PLR0912 - one case for each event
    match event:
        case ("read", str(name), int(start), int(length)):
            await world.read(name, start, length)
        case ("together", list(reads)):
            await asyncio.gather(*(world.read(*read[1:]) for read in reads))
        case ("hang_up", ("read", str(name), int(start), int(length))):
            await world.read(name, start, length, hang_up_after=0)
        case ("kill", bool(before), ("read", str(name), int(start), int(length))):
            world.faults.kill_before_rename, world.faults.kill_after_rename = before, not before
            await world.read(name, start, length)
            await world.cache.settled()
            await world.reopen()
        case ("damage", int(pick)):
            world.damage(pick)
        case ("lose", int(pick)):
            world.lose(pick)
        case ("full", bool(full)):
            world.faults.full = full
        case ("restart",):
            await world.reopen()
        case ("lock", bool(locked)):
            world.lock_index(locked=locked)
        case ("clear",):
            with suppress(sqlite3.OperationalError):
                await world.cache.store.clear()
        case ("down", bool(is_down)):
            world.shelf.is_down = is_down
        case ("refuse", refusal):
            world.shelf.refusal = refusal if refusal is None else int(str(refusal))
        case ("later", float(seconds)):
            world.clock.now += seconds
        case _:
            raise AssertionError(event)


async def live(world: World, events: list[tuple[object, ...]]) -> None:
    for event in events:
        await happen(world, event)
        await world.settle()
    world.shelf.is_down, world.shelf.refusal = False, None
    await world.reopen()
    for name, content in CONTENTS.items():
        await world.read(name, 0, max(1, content.size_bytes))
        await world.settle()
    await world.cache.close()
    world.cache.store.close()


def run(events: list[tuple[object, ...]]) -> None:
    async def lived(folder: Path) -> None:
        await live(World(folder), events)

    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        asyncio.run(lived(Path(folder)))


def _memory() -> str | None:
    """Blocks are synced to the disk, which takes a while where it is one."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.lists(EVENTS, max_size=12))
def test_no_reader_ever_gets_a_wrong_byte(events: list[tuple[object, ...]]) -> None:
    run(events)


@pytest.mark.deep
@settings(max_examples=500, suppress_health_check=list(HealthCheck))
@given(st.lists(EVENTS, max_size=30))
def test_no_reader_ever_gets_a_wrong_byte_in_long(events: list[tuple[object, ...]]) -> None:
    run(events)


def test_wrong_bytes_of_the_gateway_are_never_kept() -> None:
    async def scenario(folder: Path) -> None:
        world = World(folder)
        world.shelf.flip = True
        await world.read("film", 0, CONTENTS["film"].size_bytes)
        await world.settle()
        assert world.cache.store.allocated_bytes == 0
        assert world.cache.figures.wrong_hashes == 1
        world.shelf.flip = False
        await world.read("film", 0, CONTENTS["film"].size_bytes)
        await world.settle()
        await world.cache.close()
        world.cache.store.close()

    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        asyncio.run(scenario(Path(folder)))


def test_a_damaged_index_is_begun_anew() -> None:
    async def scenario(folder: Path) -> None:
        world = World(folder)
        await world.read("film", 0, 10)
        await world.settle()
        await world.cache.close()
        world.cache.store.close()
        (folder / "index.sqlite").write_bytes(random.Random(1).randbytes(10_000))
        with suppress(OSError):
            (folder / "index.sqlite-wal").unlink()
        world.open()
        assert world.cache.store.allocated_bytes == 0
        await world.read("film", 0, 10)
        await world.settle()
        await world.cache.close()
        world.cache.store.close()

    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        asyncio.run(scenario(Path(folder)))
