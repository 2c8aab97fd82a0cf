"""Values as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder_cli.frame.text import age_text, count_text, plain, size_text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("film\x1b[2J.mp4", "film\\x1b[2J.mp4"),
        ("\x9b31mred", "\\x9b31mred"),
        ("safe\u202egpj.exe", "safe\\u202egpj.exe"),
        ("a\u2066b", "a\\u2066b"),
        ("line\nline\r", "line\\x0aline\\x0d"),
        ("raw\udcff", "raw\\udcff"),
        ("x[/y] [red]", "x[/y] [red]"),
        ("naïve ü 漢字 👩‍👩‍👧", "naïve ü 漢字 👩‍👩‍👧"),
    ],
)
def test_what_would_act_on_a_terminal_is_shown_as_a_code(given: str, shown: str) -> None:
    assert plain(given) == shown


def test_line_ends_stay_where_lines_are_wanted() -> None:
    assert plain("a\n\tb\x1b", lines=True) == "a\n\tb\\x1b"


@given(st.text(st.characters()))
def test_whatever_is_shown_can_be_printed(text: str) -> None:
    shown = plain(text)
    shown.encode()
    assert "\x1b" not in shown
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(0, "0 B"), (-5000, "-5 kB"), (20_000_000_000, "20 GB"), (1_230_000_000_000, "1.23 TB")],
)
def test_sizes_are_short(size_bytes: int, shown: str) -> None:
    assert size_text(size_bytes) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(90, "1 min"), (9000, "2 h"), (200_000, "2 d"), (-50, "0 s")])
def test_ages_have_one_unit(seconds: int, shown: str) -> None:
    assert age_text(datetime.now(UTC) - timedelta(seconds=seconds)) == shown


def test_counts_have_their_noun() -> None:
    assert (count_text(1, "asset"), count_text(12_345, "asset")) == ("1 asset", "12,345 assets")
