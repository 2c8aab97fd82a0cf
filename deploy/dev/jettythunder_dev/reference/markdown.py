"""Markdown, as the generated documents need it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under their headings; pipes in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(name: str) -> str:
    """A name as it is typed."""
    return f"`{name}`"


def codes(names: Iterable[str]) -> str:
    """Several names."""
    return ", ".join(map(code, names))


def with_parts(text: str, parts: Mapping[str, str]) -> str:
    """The text with each part between its marks: ``<!-- generated: name -->`` and ``<!-- end: name -->``.

    Raises:
        ValueError: the text has no such marks for one of the parts.
    """
    for name, part in parts.items():
        begin, end = f"<!-- generated: {name} -->\n", f"<!-- end: {name} -->"
        before, found_begin, rest = text.partition(begin)
        _, found_end, after = rest.partition(end)
        if not (found_begin and found_end):
            raise ValueError(f"There are no marks for the generated part {name}.")
        text = f"{before}{begin}\n{part}\n\n{end}{after}"
    return text
