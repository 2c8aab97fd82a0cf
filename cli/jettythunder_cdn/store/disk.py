"""Files of blocks: written whole or not at all."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_RENAME_ATTEMPTS = 5
_RENAME_PAUSE_SECONDS = 0.05
_CLUSTER_BYTES = 4096


class Disk:
    """Blocks as files ``blocks/aa/<content>/<number>``. All of it may block: call it in a thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "blocks"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, content: str, number: int) -> Path:
        """Where a block is, if it is there."""
        return self._place(content) / str(number)

    def write(self, content: str, number: int, block: bytes | bytearray) -> int:
        """Write a block and give it its name once it is on the disk; the bytes that it takes there.

        Raises:
            OSError: there is no room, or the disk fails; nothing is left.
        """
        place = self._place(content)
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = place / f"{number}.{os.getpid()}.new"
        try:
            with draft.open("wb", buffering=0) as file:
                view = memoryview(block)
                while view:
                    view = view[file.write(view) :]
                os.fsync(file.fileno())
                allocated = _allocated(os.fstat(file.fileno()))
            self.rename(draft, place / str(number))
        except OSError:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise
        return allocated

    def rename(self, draft: Path, name: Path) -> None:
        """Give a file its name; again where a virus scanner has it open."""
        for attempt in range(1, _RENAME_ATTEMPTS + 1):
            try:
                draft.replace(name)
            except PermissionError:
                if attempt == _RENAME_ATTEMPTS:
                    raise
                time.sleep(_RENAME_PAUSE_SECONDS * attempt)
            else:
                return

    def remove(self, content: str, number: int) -> None:
        """Remove a block; one that somebody has open on Windows goes with the next scan."""
        with suppress(OSError):
            self.path(content, number).unlink(missing_ok=True)

    def remove_all(self, content: str) -> None:
        """Remove every block of a content."""
        shutil.rmtree(self._place(content), ignore_errors=True)

    def move(self, old: str, new: str) -> bool:
        """Give a content's blocks another name; False where that failed."""
        place = self._place(new)
        try:
            place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._place(old).replace(place)
        except OSError:
            return False
        return True

    def free_bytes(self) -> int:
        """Bytes that are free for this user."""
        return shutil.disk_usage(self.folder).free

    def scan(self, shelf: str = "*") -> Iterator[tuple[str, Path, int]]:
        """Every file below, or on one of the `shelves`: its content, its path, its size."""
        for found in self.folder.glob(shelf):
            for place in _entries(found):
                for file in _entries(place):
                    with suppress(OSError):
                        yield place.name, file, file.stat().st_size

    def shelves(self) -> list[str]:
        """The folders of contents, each named by how these begin."""
        return [shelf.name for shelf in _entries(self.folder)]

    def remove_empty(self) -> None:
        """Remove folders without files."""
        for shelf in _entries(self.folder):
            for place in [*_entries(shelf), shelf]:
                with suppress(OSError):
                    place.rmdir()

    def _place(self, content: str) -> Path:
        return self.folder / content[:2] / content


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _allocated(found: os.stat_result) -> int:
    blocks = getattr(found, "st_blocks", 0)
    # Some file systems count blocks only later, and Windows never.
    return blocks * 512 or -(-found.st_size // _CLUSTER_BYTES) * _CLUSTER_BYTES
