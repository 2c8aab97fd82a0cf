"""Reporting the progress of the stack's start: to a terminal, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text


class Reporter(Protocol):
    """Receives the steps of a longer operation."""

    def step(self, title: str) -> AbstractContextManager[None]:
        """A step with a beginning and an end; steps may run side by side."""

    def note(self, sentence: str) -> None:
        """Something worth knowing."""

    def warn(self, sentence: str) -> None:
        """Something that differs from what was asked for, though the work goes on."""


class SilentReporter:
    """For programs that read the result instead; warnings are kept for them."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        yield

    def note(self, sentence: str) -> None:
        return

    def warn(self, sentence: str) -> None:
        self.warnings.append(sentence)


class _Seconds(ProgressColumn):
    """How long a step has taken, to the tenth of a second."""

    def render(self, task: Task) -> Text:
        elapsed = task.finished_time if task.finished else task.elapsed
        return Text(f"{elapsed or 0:5.1f} s", style="dim")


class RichReporter:
    """Steps as lines with a spinner and their time, on a terminal; as finished lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}"),
            _Seconds(),
            console=console,
        )

    def __enter__(self) -> RichReporter:
        self._progress.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._progress.stop()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        task = self._progress.add_task(title, total=1)
        mark = "[red]✗[/red]"
        try:
            yield
            mark = "[green]✓[/green]"
        finally:
            self._progress.update(task, completed=1, description=f"{mark} {title}")

    def note(self, sentence: str) -> None:
        self._progress.console.print(sentence, style="dim", highlight=False)

    def warn(self, sentence: str) -> None:
        self._progress.console.print(f"! {sentence}", style="yellow", highlight=False)
