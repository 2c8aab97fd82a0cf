"""What the arguments of `upload` name."""

from __future__ import annotations

import glob
import os
import stat
from pathlib import Path

from jettythunder_client.config import Config
from jettythunder_client.errors import FileUnreadable
from jettythunder_client.state import StateStore

STDIN = "-"


def expand(given: list[str]) -> list[str]:
    """The files and folders that the arguments name: themselves, or the files that a glob matches.

    Raises:
        FileUnreadable: one names nothing.
    """
    found: list[str] = []
    for argument in given:
        if argument == STDIN or os.path.lexists(argument):
            found.append(argument)
            continue
        # The pattern may be absolute, which Path.glob does not take.
        matches = sorted(m for m in glob.glob(argument, recursive=True) if Path(m).is_file())  # noqa: PTH207
        if not matches:
            raise FileUnreadable(f"There is no file {argument}.")
        found += matches
    return list(dict.fromkeys(found))


def is_stream(path: Path) -> bool:
    """Whether a file's bytes are only known by reading them: a pipe, or a file of /proc, whose size is 0.

    Raises:
        FileUnreadable: it can't be read.
    """
    try:
        found = path.stat()
        if stat.S_ISFIFO(found.st_mode):
            return True
        if not stat.S_ISREG(found.st_mode) or found.st_size:
            return False
        with path.open("rb") as file:
            return bool(file.read(1))
    except OSError as error:
        raise FileUnreadable(f"{path} can't be read: {error.strerror}.") from None


def unfinished_files(config: Config) -> list[str]:
    """The files of this machine's unfinished uploads, as far as they are still there."""
    paths = [unfinished.file.path for unfinished in StateStore(config).all()]
    return [path for path in dict.fromkeys(paths) if Path(path).is_file()]
