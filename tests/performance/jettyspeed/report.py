"""The measures as a table and as a plot."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from tests.performance.contenders import MB
from tests.performance.jettyspeed.profiles import PROFILES
from tests.performance.table import Table

_TITLES = {
    "single": "single stream",
    "aws": "aws s3 cp",
    "rclone": "rclone copyto",
    "jettyspeed": "JettySpeed",
}


class Measured(Protocol):
    """What a measure tells."""

    @property
    def profile(self) -> str: ...
    @property
    def contender(self) -> str: ...
    @property
    def seconds(self) -> float: ...
    @property
    def process_seconds(self) -> float: ...
    @property
    def bytes_per_second(self) -> float: ...
    @property
    def share(self) -> float | None: ...


def table(measures: Sequence[Measured]) -> Table:
    """Medians over the runs, and what JettySpeed is to each of the others."""
    headings = ["profile", "contender", "seconds", "whole command", "MB/s", "JettySpeed is", "of the links"]
    figures = Table("Uploads by profile (median of the runs)", headings, labels=2)
    for profile in dict.fromkeys(one.profile for one in measures):
        own = median(measures, profile, "jettyspeed")
        for contender in dict.fromkeys(one.contender for one in measures if one.profile == profile):
            speed = median(measures, profile, contender)
            mine = [one for one in measures if (one.profile, one.contender) == (profile, contender)]
            shares = [one.share for one in mine if one.share is not None]
            figures.add(
                profile,
                _TITLES[contender],
                f"{statistics.median(one.seconds for one in mine):.1f}",
                f"{statistics.median(one.process_seconds for one in mine):.1f}",
                f"{speed / MB:.2f}",
                f"{own / speed:.2f}x" if own and contender != "jettyspeed" else "",
                f"{statistics.median(shares):.0%}" if shares else "",
            )
    return figures


def median(measures: Sequence[Measured], profile: str, contender: str) -> float:
    """The median speed in bytes per second; 0 where there is none."""
    speeds = [
        one.bytes_per_second for one in measures if (one.profile, one.contender) == (profile, contender)
    ]
    return statistics.median(speeds) if speeds else 0.0


def write_plot(measures: Sequence[Measured], target: Path) -> None:
    """Bars of the speeds, one panel for each profile."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(one.profile for one in measures))
    titles = {profile.name: profile.title for profile in PROFILES}
    figure, panels = pyplot.subplots(len(names), 1, figsize=(9, 2.1 * len(names)), squeeze=False)
    for name, panel in zip(names, panels[:, 0], strict=True):
        contenders = list(dict.fromkeys(one.contender for one in measures if one.profile == name))
        speeds = [median(measures, name, contender) / MB for contender in contenders]
        colours = ["#0a84a5" if contender == "jettyspeed" else "#9db4bd" for contender in contenders]
        bars = panel.barh([_TITLES[contender] for contender in contenders], speeds, color=colours)
        panel.bar_label(bars, fmt="%.1f", padding=3)
        panel.invert_yaxis()
        panel.margins(x=0.12)
        panel.set_title(titles[name], fontsize=9, loc="left")
        panel.set_xlabel("MB/s", fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=120)
