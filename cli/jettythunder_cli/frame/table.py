"""Tables that read well at 80 columns: figures to the right and never wrapped."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from jettythunder_cli.frame.output import output, styled

_GAP = 2
_WORDS_WIDTH = 12


@dataclass(frozen=True)
class Column:
    """A column. Where the terminal is too narrow, those of the highest ``rank`` are left out first."""

    title: str
    whole: bool = False
    """Never wrapped: figures, and ids to copy."""
    right: bool = False
    rank: int = 0


def words(title: str, *, rank: int = 0) -> Column:
    """A column of text, which may wrap."""
    return Column(title, rank=rank)


def figures(title: str, *, rank: int = 0) -> Column:
    """A column of figures."""
    return Column(title, whole=True, right=True, rank=rank)


def ids(title: str, *, rank: int = 0) -> Column:
    """A column of what is copied: never wrapped, never cut."""
    return Column(title, whole=True, rank=rank)


class Table:
    """Rows under columns; cells are values from anywhere, or styled texts."""

    def __init__(self, *columns: Column, caption: str = "") -> None:
        self._columns = columns
        self._caption = caption
        # The rows under each heading; those before the first one have none.
        self._blocks: list[tuple[Text | None, list[list[Text]]]] = [(None, [])]

    def add(self, *cells: object) -> None:
        """Add a row."""
        self._blocks[-1][1].append([cell if isinstance(cell, Text) else styled(cell) for cell in cells])

    def add_heading(self, heading: object) -> None:
        """Add a line over the rows that follow, as wide as it is."""
        self._blocks.append((styled(heading, "bold"), []))

    def print(self, console: Console = output) -> None:
        """Print the table as wide as the console is."""
        widths = [self._width(index) for index in range(len(self._columns))]
        kept = self._fitting(widths, console.width)
        for number, (heading, rows) in enumerate(self._blocks):
            if heading is not None:
                console.print(heading)
            if rows or number == 0:
                console.print(self._rich(kept, widths, rows, with_titles=number == 0))
        left_out = [column.title for index, column in enumerate(self._columns) if index not in kept]
        if left_out:
            sentence = f"Left out, as the terminal is narrow: {', '.join(left_out)}. --json has everything."
            console.print(styled(sentence, "dim"))
        if self._caption:
            console.print(styled(self._caption, "dim"))

    def _rich(
        self, kept: list[int], widths: list[int], rows: list[list[Text]], *, with_titles: bool
    ) -> RichTable:
        table = RichTable(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), show_header=with_titles)
        for index in kept:
            column = self._columns[index]
            table.add_column(
                column.title,
                justify="right" if column.right else "left",
                no_wrap=column.whole,
                overflow="fold",
                min_width=widths[index] if column.whole else None,
            )
        for row in rows:
            table.add_row(*(row[index] for index in kept))
        return table

    def _width(self, index: int) -> int:
        cells = [row[index].cell_len for _, rows in self._blocks for row in rows]
        return max([len(self._columns[index].title), *cells])

    def _fitting(self, widths: list[int], available: int) -> list[int]:
        """The columns that have room, text being folded to a dozen characters at worst."""
        kept = list(range(len(self._columns)))
        while self._needed(kept, widths) > available and any(self._columns[index].rank for index in kept):
            kept.remove(max(kept, key=lambda index: self._columns[index].rank))
        return kept

    def _needed(self, kept: list[int], widths: list[int]) -> int:
        least = [widths[i] if self._columns[i].whole else min(widths[i], _WORDS_WIDTH) for i in kept]
        return sum(least) + _GAP * (len(kept) - 1)
