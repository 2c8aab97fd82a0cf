"""Showing how a transfer goes: an overall bar and a lane for each edge, where there is a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from jettythunder_cli.tenant import size_text, speed_text
from jettythunder_client.events import Event, Lane, Moved, Notice, Planned


class TransferView:
    """Watches one transfer and tells of it on a console; a bar only where that is a terminal.

    ``told`` makes it brief, as one of several: no plan, and a notice only where it is not among those told.
    """

    def __init__(self, console: Console, title: str, *, quiet: bool, told: set[str] | None = None) -> None:
        self._console = console
        self._quiet = quiet
        self._told = told
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(escape(title), total=None)
        self._live = Live(
            self._bar,
            console=console,
            refresh_per_second=8,
            transient=True,
            auto_refresh=not quiet and console.is_terminal,
        )

    def __enter__(self) -> TransferView:
        if not self._quiet and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def observe(self, event: Event) -> None:
        """Take an event of the transfer."""
        match event:
            case Planned() if self._told is None:
                self.line(f"Split into {event.chunk_count} chunk{_plural(event.chunk_count)}")
                if event.resumed_bytes:
                    self.line(f"Resuming: {size_text(event.resumed_bytes)} are there already")
                self.line(f"Routing to {event.edge_count} edge location{_plural(event.edge_count)}")
            case Moved():
                self._bar.update(self._task, completed=event.done_bytes, total=event.total_bytes or None)
                if event.lanes:
                    self._live.update(Group(self._bar, _lanes(event.lanes)))
            case Notice():
                self.note(event.text)

    def line(self, text: str) -> None:
        """A step that is done."""
        if not self._quiet:
            self._console.print(f"[green]{escape('[✓]')}[/green] {escape(text)}", soft_wrap=True)

    def note(self, text: str) -> None:
        """Something worth knowing."""
        if self._told is not None:
            if text in self._told:
                return
            self._told.add(text)
        if not self._quiet:
            self._console.print(f"[yellow]![/yellow] {escape(text)}", soft_wrap=True)


def _lanes(lanes: tuple[Lane, ...]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for lane in sorted(lanes, key=lambda lane: lane.edge):
        state = Text("resting", "yellow") if lane.resting else Text(speed_text(lane.goodput), "cyan")
        table.add_row(
            Text("  " + lane.edge),
            Text(lane.region, "dim"),
            state,
            f"{lane.in_flight} connection{_plural(lane.in_flight)}",
            size_text(lane.acknowledged_bytes),
        )
    return table


def _plural(count: int) -> str:
    return "" if count == 1 else "s"
