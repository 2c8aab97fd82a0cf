"""What the servers and services wrote to their logs during a test, for the report of a failure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

SHOWN_LINES = 60


class WatchedLogs:
    """Folders of log files; remembers how long each file was when a test began."""

    def __init__(self) -> None:
        self._folders: list[Path] = []
        self._sizes_bytes: dict[Path, int] = {}

    def watch(self, folder: Path) -> None:
        """Show the folder's logs in reports from now on."""
        if folder not in self._folders:
            self._folders.append(folder)

    def mark(self) -> None:
        """A test begins."""
        self._sizes_bytes = {path: path.stat().st_size for path in self._files()}

    def written(self) -> Iterator[tuple[str, str]]:
        """The name of each log that grew since the mark, and the last lines of what was written."""
        for path in self._files():
            with path.open("rb") as log:
                log.seek(self._sizes_bytes.get(path, 0))
                lines = log.read().decode(errors="replace").splitlines()
            if lines:
                yield path.stem, "\n".join(lines[-SHOWN_LINES:])

    def _files(self) -> list[Path]:
        return [path for folder in self._folders for path in sorted(folder.glob("*.log"))]


watched_logs = WatchedLogs()
