"""Uploading many files, told in one line of progress and a table at the end."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from jettythunder_cli.frame.errors import print_error
from jettythunder_cli.frame.output import (
    output,
    print_done,
    print_json,
    print_line,
    print_note,
    print_warning,
    progress,
)
from jettythunder_cli.frame.table import Table, figures, words
from jettythunder_cli.frame.text import count_text, number_text, size_text, speed_text
from jettythunder_cli.upload.one import name_of, summary, upload_stream
from jettythunder_cli.upload.sources import STDIN, is_stream
from jettythunder_client.client import AsyncClient, Client
from jettythunder_client.config import Config
from jettythunder_client.errors import ClientError, FileUnreadable
from jettythunder_client.events import Event, Moved, Notice, Observer
from jettythunder_client.folder import FoundFile, LeftOut, walk
from jettythunder_client.many import Folder, Outcome
from jettythunder_client.upload import UploadOptions

_TOLD_AT_MOST = 20


def upload_many(
    config: Config,
    sources: Sequence[str | Folder],
    options: UploadOptions,
    *,
    accelerate: bool,
    resume: bool,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> bool:
    """Upload files, folders and streams, and print what became of them; False where one failed.

    Raises:
        ClientError: there is nothing to upload, or the service takes nothing.
    """
    report = Report(sources, as_json=as_json, quiet=quiet, verbose=verbose)

    async def send(client: AsyncClient) -> None:
        files: list[Path | Folder] = []
        for source in sources:
            if isinstance(source, Folder):
                files.append(source)
            elif not await _was_stream(client, source, options, report):
                files.append(Path(source))
        await client.upload_all(
            files, options, accelerate=accelerate, resume=resume, done=report.done, observe=report.observer
        )

    try:
        with report:
            Client(config, observe=report.observe).run(send)
    except KeyboardInterrupt:
        print_warning("Interrupted. What was stored is kept: the same command goes on with it.")
        raise
    finally:
        report.print_end()
    if sources and not report.files:
        raise FileUnreadable(f"There are no files in {', '.join(map(_name, sources))}.")
    return not report.failed


async def _was_stream(client: AsyncClient, source: str, options: UploadOptions, report: Report) -> bool:
    """Upload a source if it is a stream, whose size is known only at its end."""
    try:
        if source != STDIN and not is_stream(Path(source)):
            return False
        result = await upload_stream(client, source, options)
    except ClientError as error:
        report.done(Outcome(Path(name_of(source)), error=error))
    else:
        report.done(Outcome(Path(name_of(source)), result.size_bytes, result))
    return True


def _name(source: str | Folder) -> str:
    return str(source.path) if isinstance(source, Folder) else name_of(source)


class Report:
    """What became of each file: counted, shown in a line of progress, printed for programs or as a table."""

    def __init__(self, sources: Sequence[str | Folder], *, as_json: bool, quiet: bool, verbose: bool) -> None:
        self._as_json = as_json
        self._quiet = quiet or as_json
        self._verbose = verbose
        self._began = time.monotonic()
        self._count: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._left_out: Counter[str] = Counter()
        self._under_way: dict[Path, int] = {}
        self._sent_bytes = 0
        self._told: Counter[str] = Counter()
        self._noted: set[str] = set()
        self._shown = not self._quiet and output.is_terminal
        self._total = _Total(sources)
        self._bar = progress(
            TextColumn("{task.fields[files]}"),
            BarColumn(bar_width=16),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            hidden=not self._shown,
        )
        self._task = self._bar.add_task("", total=None, files="")

    def __enter__(self) -> Report:
        if self._shown:
            self._total.start()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._total.stop()

    @property
    def files(self) -> int:
        """How many files were found."""
        return self._count.total()

    @property
    def failed(self) -> int:
        """How many of them failed."""
        return self._count["failed"]

    def observe(self, event: Event) -> None:
        """Take in what concerns no single file."""
        if isinstance(event, Notice) and event.text not in self._noted:
            self._noted.add(event.text)
            self._note(event.text)

    def observer(self, path: Path) -> Observer:
        """The observer of one file's upload."""

        def observe(event: Event) -> None:
            if isinstance(event, Moved):
                self._under_way[path] = event.done_bytes
                self._show()
            else:
                self.observe(event)

        return observe

    def done(self, outcome: Outcome) -> None:
        """Take in what became of a file."""
        self._under_way.pop(outcome.path, None)
        if outcome.left_out is not None:
            self._leave_out(outcome.left_out)
        elif outcome.error is not None:
            self._add("failed", outcome.size_bytes)
            self._fail(outcome.path, outcome.error)
        elif outcome.result is None:
            self._add("skipped", outcome.size_bytes)
            self._tell(outcome.path, outcome.size_bytes, "stored by an earlier run")
            self._print_json(outcome.path, route="skipped", size_bytes=outcome.size_bytes)
        else:
            result = outcome.result
            known = result.route == "already_stored" or bool(result.asset.get("deduplicated"))
            self._add("known" if known else "stored", outcome.size_bytes)
            self._sent_bytes += result.sent_bytes
            self._tell(
                outcome.path,
                outcome.size_bytes,
                "there already" if known else speed_text(result.bytes_per_second),
            )
            if self._as_json:
                print_json(summary(str(outcome.path), result))
        if outcome.without_key:
            self.observe(
                Notice("Some files have no cache key: too long a path, or too many with the same bytes.")
            )
        self._show()

    def _add(self, what: str, size_bytes: int) -> None:
        self._count[what] += 1
        self._bytes[what] += size_bytes

    def _leave_out(self, found: LeftOut) -> None:
        self._left_out[found.reason] += 1
        if found.reason != "hidden":
            self._note(f"{found.path} is {found.kind}: left out.", among="left out")
        self._print_json(found.path, route="left_out", reason=found.reason)

    def _fail(self, path: Path, error: ClientError) -> None:
        if self._as_json:
            print_error(error, as_json=True, file=str(path))
        elif self._may_tell("failed"):
            print_error(error, as_json=False, file=str(path))

    def _note(self, text: str, *, among: str = "") -> None:
        if not self._quiet and (not among or self._may_tell(among)):
            print_note(text)

    def _may_tell(self, what: str) -> bool:
        """Whether one more of them is told by itself: of very many only the first are."""
        self._told[what] += 1
        return self._verbose or self._told[what] <= _TOLD_AT_MOST

    def _tell(self, path: Path, size_bytes: int, what: str) -> None:
        if self._verbose and not self._quiet:
            print_done(f"{path}  {size_text(size_bytes)}  {what}")

    def _print_json(self, path: Path, **facts: Any) -> None:
        if self._as_json:
            print_json({"success": True, "file": str(path), **facts})

    def _show(self) -> None:
        if not self._shown:
            return
        skipped = self._bytes["skipped"]
        done = self._bytes.total() - skipped + sum(self._under_way.values())
        whole = self._total.counted
        of = f" of {self._total.files:,}" if whole else ""
        self._bar.update(
            self._task,
            completed=done,
            total=self._total.size_bytes - skipped if whole else None,
            files=f"{self.files:,}{of} files",
        )

    def print_end(self) -> None:
        """Print what became of all."""
        if self._quiet:
            return
        if not self.files and not self._left_out:
            return
        seconds = time.monotonic() - self._began
        table = Table(words(""), figures("files"), figures("size"))
        for what, title in _TITLES.items():
            if self._count[what]:
                table.add(title, f"{self._count[what]:,}", size_text(self._bytes[what]))
        for reason, title in _LEFT_OUT.items():
            if self._left_out[reason]:
                table.add(title, f"{self._left_out[reason]:,}", "")
        table.print()
        untold = self._told["failed"] - _TOLD_AT_MOST
        if untold > 0 and not self._verbose:
            print_note(f"{count_text(untold, 'failure')} more: --verbose prints all of them.")
        stored = self.files - self.failed
        speed = speed_text(self._sent_bytes / seconds)
        print_line(
            f"{'[✗]' if self.failed else '[✓]'} {stored:,} of {self.files:,} files stored"
            f" in {number_text(seconds)} seconds: {number_text(stored / seconds)} files/s, {speed}"
        )


_TITLES = {
    "stored": "stored",
    "known": "there already, by their bytes",
    "skipped": "stored by an earlier run",
    "failed": "failed",
}
_LEFT_OUT = {
    "symlink": "left out: symbolic links",
    "special": "left out: pipes, sockets, devices",
    "hidden": "left out: hidden (--hidden takes them)",
}


class _Total:
    """How much there is in all, counted beside the uploads."""

    def __init__(self, sources: Sequence[str | Folder]) -> None:
        self.files = 0
        self.size_bytes = 0
        self.counted = False
        self._sources = sources
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="count", daemon=True)

    def start(self) -> None:
        """Begin to count."""
        self._thread.start()

    def stop(self) -> None:
        """Count no further."""
        self._stopped = True

    def _run(self) -> None:
        for source in self._sources:
            if isinstance(source, Folder):
                self._count(source)
            else:
                self.files += 1
                with suppress(OSError):
                    self.size_bytes += Path(source).stat().st_size
        self.counted = not self._stopped

    def _count(self, folder: Folder) -> None:
        for found in walk(folder.path, folder.selection):
            if self._stopped:
                return
            if isinstance(found, FoundFile):
                self.files += 1
                self.size_bytes += found.identity.size_bytes
