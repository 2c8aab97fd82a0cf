"""Printing: lines, steps, notes and JSON. Nothing that is printed is read as markup."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.progress import Progress, ProgressColumn
from rich.text import Text

from jettythunder_cli.frame.text import plain

output = Console(markup=False, highlight=False, emoji=False)
errors = Console(stderr=True, markup=False, highlight=False, emoji=False)


def styled(value: object, style: str = "", *, lines: bool = False) -> Text:
    """A value as a harmless text in a style."""
    return Text(plain(value, lines=lines), style)


def line(*parts: str | Text, style: str = "") -> Text:
    """One line of strings, made harmless, and styled texts."""
    return Text.assemble(*(part if isinstance(part, Text) else styled(part) for part in parts), style=style)


def print_line(*parts: str | Text, style: str = "") -> None:
    """Print a line for people, as long as it is."""
    output.print(line(*parts, style=style), soft_wrap=True)


def print_done(sentence: str) -> None:
    """Print that a step is done."""
    print_line(Text("[✓]", "green"), f" {sentence}")


def print_note(sentence: str) -> None:
    """Print something that is worth knowing, or not as was asked for."""
    print_line(Text("!", "yellow"), f" {sentence}")


def print_warning(sentence: str) -> None:
    """Print a warning to stderr, where it does not mix with results."""
    errors.print(line(Text("!", "yellow"), f" {sentence}"), soft_wrap=True)


def print_json(value: Any, *, indent: int | None = None) -> None:
    """Print a result for programs: JSON in ASCII; what JSON has no type for as text."""
    sys.stdout.write(json.dumps(value, indent=indent, default=str) + "\n")
    sys.stdout.flush()


def print_document(value: Any) -> None:
    """Print JSON for people: indented and coloured."""
    text = styled(json.dumps(value, indent=2, ensure_ascii=False, default=str), lines=True)
    JSONHighlighter().highlight(text)
    output.print(text, soft_wrap=True)


def progress(*columns: ProgressColumn, hidden: bool = False, console: Console = output) -> Progress:
    """A progress display that is removed at its end."""
    return Progress(*columns, console=console, transient=True, disable=hidden)
