"""Figures as people read them: tables for a terminal, or in Markdown for the documentation."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich import box
from rich import table as rich_table
from rich.console import Console

WIDTH = 100


@dataclass
class Table:
    """A table; its first ``labels`` columns say what a row is about, the others are figures."""

    title: str
    headings: Sequence[str]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    labels: int = 1

    def add(self, *cells: str) -> None:
        self.rows.append(cells)

    def markdown(self) -> str:
        """The table as a page of the documentation has it, under its title."""
        rule = ["---" if column < self.labels else "---:" for column in range(len(self.headings))]
        lines = [f"| {' | '.join(cells)} |" for cells in (self.headings, rule, *self.rows)]
        return f"**{self.title}**\n\n" + "\n".join(lines) + "\n"

    def rendered(self) -> rich_table.Table:
        """The table for a terminal."""
        table = rich_table.Table(title=self.title, title_justify="left", box=box.SIMPLE_HEAD)
        for column, heading in enumerate(self.headings):
            label = column < self.labels
            table.add_column(heading, justify="left" if label else "right", no_wrap=label)
        for cells in self.rows:
            table.add_row(*cells)
        return table


def add_output_options(parser: argparse.ArgumentParser) -> None:
    """The options that `show` obeys."""
    forms = parser.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="print JSON for programs")
    forms.add_argument("--markdown", action="store_true", help="print tables in Markdown")


def show(given: argparse.Namespace, tables: Sequence[Table], data: object) -> None:
    """Print the tables, or what programs read, as the options say."""
    if given.json:
        print(json.dumps(data, indent=2))
    elif given.markdown:
        print("\n".join(table.markdown() for table in tables))
    else:
        console = Console(width=WIDTH)
        for table in tables:
            console.print(table.rendered())
