"""Stacks that start at the same moment and want the same thing installed: one does it, the others wait."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jettythunder_dev.errors import StackError

# In a folder that every user can write to, another user's link could point to a file of ours.
_OPENED = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def one_at_a_time(lock: Path) -> Iterator[None]:
    """Hold the lock, waiting for whichever process holds it now. The lock's file stays.

    Raises:
        StackError: the file can't be opened, for example because it is a link.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = os.open(lock, _OPENED, 0o600)
    except OSError as error:
        raise StackError(
            f"{lock} can't be used as a lock ({error.strerror}): remove it, and repeat."
        ) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
