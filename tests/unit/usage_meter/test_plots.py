"""Usage as a picture in the terminal."""

import re
from typing import Any

import pytest

from jettythunder_operators.usage.plots import plot_in_terminal

HOUR: dict[str, Any] = {
    "period_start": "2026-11-25T01:00:00Z",
    "period_end": "2026-11-25T02:00:00Z",
    "storage_bytes": 41_000_000,
    "bandwidth_bytes": 32_000_000,
}


def test_a_single_hour_is_drawn_over_its_hour(capsys: pytest.CaptureFixture[str]) -> None:
    plot_in_terminal([HOUR])
    drawn = capsys.readouterr().out
    hours = re.findall(r"\d{4}-\d\d-\d\d \d\d", drawn)
    assert hours
    assert set(hours) == {"2026-11-25 01"}
    assert {"GB stored", "GB sent"} <= set(re.findall(r"GB \w+", drawn))


def test_nothing_is_said_to_be_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    plot_in_terminal([])
    assert capsys.readouterr().out == "There is no usage in this time.\n"
