"""The files of a folder, found one after another however many there are."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import translate
from pathlib import Path
from typing import Literal

from jettythunder_client.errors import FileUnreadable
from jettythunder_client.names import name_to_send
from jettythunder_client.state import FileIdentity, kind_of

Reason = Literal["symlink", "special", "hidden"]
_LONGEST_KEY = 512


@dataclass(frozen=True)
class FoundFile:
    """A regular file; ``relative`` is its path below the folder, with slashes."""

    path: Path
    relative: str
    identity: FileIdentity


@dataclass(frozen=True)
class LeftOut:
    """Something in a folder that is not uploaded, and why."""

    path: Path
    reason: Reason
    kind: str


@dataclass(frozen=True)
class Unreadable:
    """A file or folder that can't be read."""

    path: Path
    error: FileUnreadable


class Selection:
    """Which files of a folder are meant.

    Patterns are globs. One without a slash is compared with the names of files and folders, one with a slash
    with the path below the folder that is uploaded; `*` matches slashes too. A file is meant where it matches
    one of ``include``, or there is none, and neither it nor a folder on the way to it matches one of
    ``exclude``. What begins with a dot is meant only with ``hidden``.
    """

    def __init__(
        self, *, include: Iterable[str] = (), exclude: Iterable[str] = (), hidden: bool = False
    ) -> None:
        self._include = [_matcher(pattern) for pattern in include]
        self._exclude = [_matcher(pattern) for pattern in exclude]
        self._hidden = hidden

    def hides(self, name: str) -> bool:
        """Whether a file or folder is left out because it is hidden."""
        return name.startswith(".") and not self._hidden

    def excludes(self, relative: str) -> bool:
        """Whether a file, or a folder with all that is in it, is excluded."""
        return any(matches(relative) for matches in self._exclude)

    def takes(self, relative: str) -> bool:
        """Whether a file that is not excluded is meant."""
        return not self._include or any(matches(relative) for matches in self._include)


def _matcher(pattern: str) -> Callable[[str], bool]:
    pattern = pattern.rstrip("/")
    matches = re.compile(translate(pattern.removeprefix("/"))).match
    if "/" in pattern:
        return lambda relative: matches(relative) is not None
    return lambda relative: matches(relative.rsplit("/", 1)[-1]) is not None


def walk(folder: Path, selection: Selection) -> Iterator[FoundFile | LeftOut | Unreadable]:
    """What is in a folder and the folders below it, in no particular order; symbolic links are not followed.

    What is held in memory are the paths of the folders that are still to be read.
    """
    real = os.path.realpath(folder)
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        here = folder / prefix
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    relative = f"{prefix}{entry.name}"
                    if selection.excludes(relative):
                        continue
                    found = _look(entry, here / entry.name, relative, real, selection)
                    if found == "folder":
                        waiting.append(f"{relative}/")
                    elif not isinstance(found, str):
                        yield found
        except OSError as error:
            yield Unreadable(here, FileUnreadable(f"{here} can't be read: {error.strerror}."))


def _look(
    entry: os.DirEntry[str], path: Path, relative: str, real: str, selection: Selection
) -> FoundFile | LeftOut | Unreadable | Literal["folder", "not meant"]:
    if selection.hides(entry.name):
        return LeftOut(path, "hidden", "hidden")
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError as error:
        return Unreadable(path, FileUnreadable(f"{path} can't be read: {error.strerror}."))
    if stat.S_ISDIR(found.st_mode):
        return "folder"
    if not selection.takes(relative):
        return "not meant"
    if stat.S_ISLNK(found.st_mode):
        return LeftOut(path, "symlink", "a symbolic link")
    if not stat.S_ISREG(found.st_mode):
        return LeftOut(path, "special", kind_of(found.st_mode))
    whole = os.path.join(real, relative)  # noqa: PTH118 - a string for each of very many files
    identity = FileIdentity(whole, found.st_size, found.st_mtime_ns, found.st_dev, found.st_ino)
    return FoundFile(path, relative, identity)


def key_of(prefix: str, relative: str) -> str | None:
    """The cache key that stands for a file's path: printable, and None where it would be too long."""
    sent = name_to_send(f"{prefix}{relative}")
    key = "".join(char if char.isprintable() else "_" for char in sent)
    return key if len(key) <= _LONGEST_KEY else None
