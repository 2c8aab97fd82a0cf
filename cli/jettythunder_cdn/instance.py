"""One desktop CDN per folder: its lock, and who holds it."""

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from jettythunder_cdn.errors import AlreadyRunning

if os.name == "nt":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


_ATTEMPTS = 10
_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Holder:
    """The process that runs with a folder."""

    pid: int
    port: int
    started_at: float


class Lock:
    """Held for as long as the process lives, however that ends."""

    def __init__(self, state_dir: Path) -> None:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._holder_file = state_dir / "instance.json"
        self._file = (state_dir / "lock").open("a+", encoding="utf-8")

    def take(self, *, port: int) -> None:
        """Take the lock, and say who has it.

        Raises:
            AlreadyRunning: another process has it.
        """
        # Who only looks whether it is taken has it for a moment.
        for _ in range(_ATTEMPTS):
            if self._try():
                break
            time.sleep(_PAUSE_SECONDS)
        else:
            holder = self.holder()
            by = f" (process {holder.pid}, port {holder.port})" if holder else ""
            raise AlreadyRunning(f"A desktop CDN runs already{by}. Stop it with `jettythunder cdn stop`.")
        self._holder_file.write_text(json.dumps(asdict(Holder(os.getpid(), port, time.time()))))

    def is_taken(self) -> bool:
        """Whether a process has it; this one gives it back with `close`."""
        return not self._try()

    def _try(self) -> bool:
        try:
            _lock(self._file)
        except OSError:
            return False
        return True

    def holder(self) -> Holder | None:
        """Who said last that it has the lock."""
        with suppress(OSError, ValueError, TypeError):
            return Holder(**json.loads(self._holder_file.read_text(encoding="utf-8")))
        return None

    def release(self) -> None:
        """Give the lock back."""
        self._holder_file.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close the lock's file."""
        self._file.close()


def running(state_dir: Path) -> Holder | None:
    """The desktop CDN that runs with a folder; None where none does."""
    if not (state_dir / "lock").exists():
        return None
    lock = Lock(state_dir)
    try:
        return lock.holder() if lock.is_taken() else None
    finally:
        lock.close()
