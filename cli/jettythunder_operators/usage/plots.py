"""Usage over time as a picture: in the terminal, or as a PNG."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from jettythunder_cli.frame.output import print_line, styled
from jettythunder_operators.usage.files import MissingPackage

GB = 1_000_000_000


def _steps(rows: Iterable[Mapping[str, Any]]) -> tuple[list[datetime], list[float], list[float]]:
    """Times, GB stored and GB sent of all accounts together; floats, since these are pixels.

    Each figure stands at the beginning and at the end of its time, so a line through them has steps.
    """
    stored: dict[tuple[str, str], int] = defaultdict(int)
    sent: dict[tuple[str, str], int] = defaultdict(int)
    for row in rows:
        period = row["period_start"], row["period_end"]
        stored[period] += row["storage_bytes"]
        sent[period] += row["bandwidth_bytes"]
    periods = sorted(stored)
    return (
        [datetime.fromisoformat(time) for period in periods for time in period],
        [stored[period] / GB for period in periods for _ in period],
        [sent[period] / GB for period in periods for _ in period],
    )


def plot_in_terminal(rows: Iterable[Mapping[str, Any]]) -> None:
    """Draw GB stored and GB sent."""
    try:
        import plotext  # noqa: PLC0415 - part of the extra `reports`
    except ImportError:
        raise MissingPackage("plotext") from None
    times, stored, sent = _steps(rows)
    if not times:
        print_line("There is no usage in this time.")
        return
    labels = [time.strftime("%Y-%m-%d %H:%M") for time in times]
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.date_form("Y-m-d H:M")
    plotext.plot(labels, stored, label="GB stored", marker="sd")
    plotext.plot(labels, sent, label="GB sent", marker="dot")
    # Room above for the legend.
    plotext.ylim(min(0, *stored, *sent), 1.25 * max(*stored, *sent) or 1)
    # Colours are left out, so that it looks the same in a file or a pipe.
    print_line(styled(plotext.uncolorize(plotext.build()), lines=True))


def plot_to_png(rows: Iterable[Mapping[str, Any]], file: Path) -> None:
    """Draw GB stored above GB sent into a PNG."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - part of the extra `reports`
    except ImportError:
        raise MissingPackage("matplotlib") from None
    times, stored, sent = _steps(rows)
    figure = Figure(figsize=(10, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for axes, name, values in ((above, "GB stored", stored), (below, "GB sent", sent)):
        axes.plot(times, values)
        axes.set_ylabel(name)
        axes.set_ylim(bottom=min(0, *values) if values else 0)
        axes.grid(alpha=0.3)
    below.set_xlabel("UTC")
    figure.autofmt_xdate()
    figure.savefig(file, format="png", dpi=120)
