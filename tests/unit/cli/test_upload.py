"""What the commands say, and which files they take."""

from __future__ import annotations

from pathlib import Path

import pytest

from jettythunder_cli.frame.text import number_text, size_text, speed_text
from jettythunder_cli.upload.one import comparison_text
from jettythunder_cli.upload.sources import expand
from jettythunder_client.errors import FileUnreadable


@pytest.mark.parametrize(
    ("speedup", "expected"),
    [
        (None, ""),
        (3.04, " (3x faster than standard)"),
        (11.27, " (11.3x faster than standard)"),
        (1.02, " (no faster than standard)"),
        (0.7, " (no faster than standard)"),
    ],
)
def test_only_a_measured_and_noteworthy_speedup_is_claimed(speedup: float | None, expected: str) -> None:
    assert comparison_text(speedup) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(250.4, "250"), (25.34, "25.3"), (2.5, "2.5"), (45.0, "45"), (100, "100")]
)
def test_numbers_have_the_decimals_they_deserve(value: float, expected: str) -> None:
    assert number_text(value) == expected


def test_sizes_and_speeds_are_decimal() -> None:
    assert size_text(1_500_000) == "1.5 MB"
    assert size_text(999) == "999 B"
    assert speed_text(250_000_000) == "250 MB/s"


def test_files_folders_and_what_globs_match_are_taken_once_each(tmp_path: Path) -> None:
    (tmp_path / "folder" / "deeper").mkdir(parents=True)
    names = ["a.jpg", "b.png", "folder/c.jpg", "folder/deeper/d.jpg"]
    for name in names:
        (tmp_path / name).touch()
    found = expand([str(tmp_path / "a.jpg"), str(tmp_path / "*.jpg"), str(tmp_path / "folder"), "-"])
    assert found == [str(tmp_path / "a.jpg"), str(tmp_path / "folder"), "-"]


def test_what_names_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable, match=r"no-such\.bin"):
        expand([str(tmp_path / "no-such.bin")])
