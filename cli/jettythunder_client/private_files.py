"""Files that hold secrets: readable by their owner alone."""

import os
import tempfile
from pathlib import Path


def write_private(target: Path, text: str) -> None:
    """Replace a file in one step, with mode 0600; a reader sees the old text or the new one.

    Folders on the way are made, closed to others.
    """
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    # The draft's name does not contain the target's, which may have the longest length there is.
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".jettythunder-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
