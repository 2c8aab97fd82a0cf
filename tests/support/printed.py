"""What a table looks like on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from jettythunder_cli.frame.table import Table


def printed(table: Table, width: int = 80) -> list[str]:
    """The lines that a table takes on a console of this width."""
    file = io.StringIO()
    table.print(Console(file=file, width=width, markup=False, highlight=False))
    return [line.rstrip() for line in file.getvalue().splitlines()]
