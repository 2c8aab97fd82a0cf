"""Showing how a transfer goes: an overall bar and a line for each edge, where there is a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Group
from rich.live import Live
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

from jettythunder_cli.frame.output import output, print_done, print_note, styled
from jettythunder_cli.frame.text import count_text, plain, size_text, speed_text
from jettythunder_client.events import EdgeProgress, Event, Moved, Notice, Planned


class TransferView:
    """Observes one transfer and prints what happens; a bar only where the output is a terminal.

    ``noted`` makes it brief, as one of several: no plan, and a notice only where it is not among those noted.
    """

    def __init__(self, title: str, *, quiet: bool, noted: set[str] | None = None) -> None:
        self._quiet = quiet
        self._noted = noted
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=output,
        )
        self._task = self._bar.add_task(plain(title), total=None)
        self._live = Live(
            self._bar,
            console=output,
            refresh_per_second=8,
            transient=True,
            auto_refresh=not quiet and output.is_terminal,
        )

    def __enter__(self) -> TransferView:
        if not self._quiet and output.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def observe(self, event: Event) -> None:
        """Take an event of the transfer."""
        match event:
            case Planned() if self._noted is None:
                self.done(f"Split into {count_text(event.chunk_count, 'chunk')}")
                if event.resumed_bytes:
                    self.done(f"Resuming: {size_text(event.resumed_bytes)} are there already")
                self.done(f"Routing to {count_text(event.edge_count, 'edge location')}")
            case Moved():
                self._bar.update(self._task, completed=event.done_bytes, total=event.total_bytes or None)
                if event.edges:
                    self._live.update(Group(self._bar, _edges(event.edges)))
            case Notice():
                self.note(event.text)

    def done(self, text: str) -> None:
        """Print that a step is done."""
        if not self._quiet:
            print_done(text)

    def note(self, text: str) -> None:
        """Print something worth knowing, once."""
        if self._noted is not None:
            if text in self._noted:
                return
            self._noted.add(text)
        if not self._quiet:
            print_note(text)


def _edges(edges: tuple[EdgeProgress, ...]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for edge in sorted(edges, key=lambda edge: edge.edge):
        speed = Text("backing off", "yellow") if edge.backing_off else Text(speed_text(edge.goodput), "cyan")
        table.add_row(
            styled(f"  {edge.edge}"),
            styled(edge.region, "dim"),
            speed,
            count_text(edge.in_flight, "connection"),
            size_text(edge.acknowledged_bytes),
        )
    return table
