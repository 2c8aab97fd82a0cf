"""Reading the programs' logs, of one or of all, once or as they grow."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from pathlib import Path

from jettythunder_dev.errors import StackError

POLL_SECONDS = 0.3


def log_files(folder: Path, program: str | None) -> list[Path]:
    """The log files of the program, or of all; raises StackError, naming those there are."""
    found = sorted(folder.glob("*.log"))
    if program is None:
        return found
    wanted = [path for path in found if path.stem == program]
    if not wanted:
        names = ", ".join(path.stem for path in found) or "none, the stack was not started yet"
        raise StackError(f"There is no log of `{program}`. Logs are there of: {names}.")
    return wanted


def _print_line(path: Path, line: str, *, prefixed: bool) -> None:
    print(f"{path.stem:<18} {line}" if prefixed else line, flush=True)


def print_logs(folder: Path, program: str | None, lines: int) -> None:
    """Print the last lines of each log."""
    files = log_files(folder, program)
    for path in files:
        with path.open(errors="replace") as log:
            for line in deque(log, maxlen=lines):
                _print_line(path, line.rstrip("\n"), prefixed=len(files) > 1)


def follow_logs(folder: Path, program: str | None) -> None:
    """Print what is written from now on, until interrupted. A rotated or new log is read from its start."""
    read_bytes = {path: path.stat().st_size for path in log_files(folder, program)}
    with suppress(KeyboardInterrupt):
        while True:
            files = log_files(folder, program)
            for path in files:
                size_bytes = path.stat().st_size
                start = read_bytes.get(path, 0)
                if size_bytes < start:
                    start = 0
                with path.open(errors="replace") as log:
                    log.seek(start)
                    for line in log:
                        _print_line(path, line.rstrip("\n"), prefixed=len(files) > 1)
                    read_bytes[path] = log.tell()
            time.sleep(POLL_SECONDS)
