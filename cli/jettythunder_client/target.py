"""Where a download is written: never over what is there, unless that was asked for."""

import hashlib
import json
import os
import stat
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from jettythunder_client.errors import FileExists, FileUnwritable
from jettythunder_client.names import LONGEST_NAME_BYTES
from jettythunder_client.private_files import write_private
from jettythunder_client.state import kind_of

_PART, _JOURNAL = ".part", ".part.json"


@dataclass
class Journal:
    """What a .part file holds, kept beside it. It has the link in it, so only its owner may read it."""

    asset_id: str
    content_hash: str
    size_bytes: int
    range_bytes: int
    url: str
    expires_at: float
    done: list[int] = field(default_factory=list)

    def fits(self, asset_id: str, content_hash: str, size_bytes: int) -> bool:
        """Whether this is about the very same bytes."""
        return (self.asset_id, self.content_hash, self.size_bytes) == (asset_id, content_hash, size_bytes)

    @classmethod
    def parse(cls, text: str) -> Self:
        """A journal from its file's text.

        Raises:
            ValueError: it is none.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from None


class Target:
    """A file to be written under its name at the end, and its .part and journal until then.

    Raises:
        FileExists: there is a file of this name, and ``overwrite`` was not given.
        FileUnwritable: there is something else of this name, which is never replaced.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        self.path = path
        self._overwrite = overwrite
        stem = path.name
        if len(os.fsencode(stem + _JOURNAL)) > LONGEST_NAME_BYTES:
            stem = hashlib.sha256(os.fsencode(stem)).hexdigest()[:32]
        self.part = path.with_name(stem + _PART)
        self._journal_file = path.with_name(stem + _JOURNAL)
        self._check_free()

    def _check_free(self) -> None:
        try:
            mode = self.path.lstat().st_mode
            if stat.S_ISLNK(mode) and self.path.exists():
                mode = self.path.stat().st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise FileUnwritable(f"{self.path} can't be written: {error.strerror}.") from None
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
            raise FileUnwritable(f"{self.path} is {kind_of(mode)}, not a file: name another with --output.")
        if not self._overwrite:
            raise FileExists(f"{self.path} exists already: replace it with --force, or name another file.")

    def journal(self) -> Journal | None:
        """The journal of an interrupted download to here.

        Raises:
            FileUnwritable: there is a .part file, or a journal, that no download left.
        """
        try:
            found = Journal.parse(self._journal_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            found = None
        except (OSError, ValueError):
            raise self._in_the_way(self._journal_file) from None
        if found is None and os.path.lexists(self.part):
            raise self._in_the_way(self.part)
        return found

    def holds(self, journal: Journal) -> bool:
        """Whether the .part file is there with the size that the journal says."""
        with suppress(OSError):
            return self.part.lstat().st_size == journal.size_bytes
        return False

    def save(self, journal: Journal) -> None:
        """Keep the journal, in one step."""
        write_private(self._journal_file, json.dumps(asdict(journal)))

    def open(self, journal: Journal) -> int:
        """Open the .part file, through no link, and give it its size; a descriptor to read and write.

        The journal is written first: a .part file without one is not ours.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.save(journal)
            descriptor = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
        except OSError as error:
            raise FileUnwritable(f"{self.part} can't be written: {error.strerror}.") from None
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._in_the_way(self.part)
            os.ftruncate(descriptor, journal.size_bytes)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                raise FileUnwritable(f"{self.part} can't be written: {error.strerror}.") from None
            raise
        return descriptor

    def finish(self) -> None:
        """Give the .part file its name.

        Raises:
            FileExists: somebody made a file of this name meanwhile; the .part file stays.
        """
        if self._overwrite:
            self.part.replace(self.path)
        else:
            self._link()
        self._journal_file.unlink(missing_ok=True)

    def _link(self) -> None:
        try:
            # A hard link, unlike a renaming, fails where there is a file.
            os.link(self.part, self.path, follow_symlinks=False)
        except FileExistsError:
            raise FileExists(
                f"{self.path} was made during the download: replace it with --force, or move it and repeat."
            ) from None
        except OSError:
            # A file system without hard links.
            self._check_free()
            self.part.replace(self.path)
        else:
            self.part.unlink()

    def discard(self) -> None:
        """Remove what was downloaded so far."""
        self.part.unlink(missing_ok=True)
        self._journal_file.unlink(missing_ok=True)

    def _in_the_way(self, file: Path) -> FileUnwritable:
        return FileUnwritable(
            f"{file} exists already and belongs to no download: move it, or name another file with --output."
        )
