"""What a dashboard is made of, without Grafana's details."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

SERVICES = "storage-gateway|chunk-worker|edge|provisioning|usage-meter|operations"

# Grafana's ids of units.
Unit = Literal["short", "percentunit", "s", "h", "bytes", "Bps", "reqps", "ops", "none"]


@dataclass(frozen=True)
class Query:
    """An expression, and what its series are called: text with the labels in double braces."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """A graph, or with ``figure`` its last value in large digits.

    Attributes:
        description: what to know when reading it.
        least, most: the ends of the axis, where they are known.
        red_from: values from there on are red; with ``red_below`` those below are.
    """

    title: str
    queries: Sequence[Query]
    unit: Unit = "short"
    description: str = ""
    figure: bool = False
    most: float | None = None
    red_from: float | None = None
    red_below: float | None = None


@dataclass(frozen=True)
class Dashboard:
    """A page of panels, in rows with titles."""

    uid: str
    title: str
    rows: Sequence[tuple[str, Sequence[Panel]]]

    @property
    def panels(self) -> list[Panel]:
        return [panel for _, panels in self.rows for panel in panels]


def graph(
    title: str,
    *queries: tuple[str, str],
    unit: Unit = "short",
    description: str = "",
    most: float | None = None,
) -> Panel:
    """A graph of pairs of an expression and a legend."""
    return Panel(title, [Query(*each) for each in queries], unit, description, most=most)


def figure(
    title: str,
    expr: str,
    *,
    unit: Unit = "short",
    description: str = "",
    legend: str = "",
    red_from: float | None = None,
    red_below: float | None = None,
) -> Panel:
    """The last value of an expression in large digits."""
    return Panel(
        title,
        [Query(expr, legend)],
        unit,
        description,
        figure=True,
        red_from=red_from,
        red_below=red_below,
    )


def quantiles(metric: str, selector: str = "", *, by: str = "") -> list[tuple[str, str]]:
    """The median and the 99th percentile of a histogram over five minutes, as arguments of :func:`graph`."""
    grouped = f"{by}, le" if by else "le"
    named = f" {{{{{by}}}}}" if by else ""
    return [
        (
            f"histogram_quantile({share}, sum by ({grouped}) (rate({metric}_bucket{selector}[5m])))",
            f"{name}{named}",
        )
        for share, name in ((0.5, "p50"), (0.99, "p99"))
    ]
