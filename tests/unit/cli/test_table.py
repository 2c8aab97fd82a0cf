"""Tables at 80 columns."""

from __future__ import annotations

import pytest
from tests.support.printed import printed

from jettythunder_cli.frame.table import Table, figures, ids, words

ID = "0b6f8a52-8f0c-4f5e-9a53-0d2f5b1f3c11"


def test_figures_and_ids_are_never_wrapped_or_cut() -> None:
    table = Table(ids("id"), figures("size"), figures("age"), words("name"))
    table.add(ID, "123.4 MB", "12 min", "a long name " * 12)
    table.add(ID, "1 B", "2 d", "short")
    lines = printed(table)
    assert max(len(line) for line in lines) <= 80
    assert f"{ID}  123.4 MB  12 min" in lines[1]
    assert f"{ID}       1 B     2 d  short" in lines


def test_columns_are_left_out_by_rank_and_that_is_said() -> None:
    table = Table(ids("id"), figures("count"), words("who", rank=1), ids("more", rank=2))
    table.add(ID, "1,234", "somebody", ID)
    narrow, wide = printed(table), printed(table, width=200)
    assert narrow[0].split() == ["id", "count", "who"]
    assert narrow[-1] == "Left out, as the terminal is narrow: more. --json has everything."
    assert wide[0].split() == ["id", "count", "who", "more"]
    assert len(wide) == 2


def test_rows_stand_under_their_headings_in_the_same_columns() -> None:
    table = Table(ids("from"), figures("stored"))
    table.add_heading("a user with a name that is longer than the first column is")
    table.add("2026-01-01", "3 GB")
    table.add_heading("another")
    table.add("2026-01", "12.3 MB")
    assert printed(table) == [
        "from         stored",
        "a user with a name that is longer than the first column is",
        "2026-01-01     3 GB",
        "another",
        "2026-01     12.3 MB",
    ]


@pytest.mark.parametrize("text", ["x[/y]", "[red]alarm", "[link=http://example.com]here[/link]", "end\\"])
def test_what_looks_like_markup_is_text(text: str) -> None:
    table = Table(words("message"))
    table.add(text)
    assert printed(table) == ["message", text]


def test_control_characters_are_shown() -> None:
    table = Table(words("name"))
    table.add("a\x1b[31mb")
    assert printed(table)[1] == "a\\x1b[31mb"
