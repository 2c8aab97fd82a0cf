"""What the servers and services wrote to their logs during a test, for the report of a failure."""

from __future__ import annotations

import contextlib
import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import structlog

from jettythunder import telemetry
from jettythunder.settings import ServiceSettings

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


class WrittenLog:
    """What a service writes to its log, as it writes it."""

    def __init__(self) -> None:
        self._output = io.StringIO()

    @property
    def text(self) -> str:
        """All of it."""
        return self._output.getvalue()

    def security_events(self) -> list[dict[str, Any]]:
        """The security events, in their order."""
        lines = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in lines if line.get("security") is True]

    @classmethod
    @contextlib.contextmanager
    def of(cls, settings: ServiceSettings) -> Iterator[WrittenLog]:
        """The log of this process, configured as a service configures it, while inside."""
        root, written = logging.getLogger(), cls()
        before = root.handlers[:], root.level
        root.handlers.clear()
        with contextlib.redirect_stdout(written._output):
            telemetry.configure("test", settings)
        try:
            yield written
        finally:
            root.handlers[:], root.level = before
            structlog.reset_defaults()
