"""The dashboards as Grafana reads them."""

import json
from pathlib import Path
from string import ascii_uppercase

from grafana_foundation_sdk.builders import common, prometheus, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import BigValueColorMode, LegendDisplayMode, LegendPlacement

from jettythunder_dev.dashboards.broker import BROKER
from jettythunder_dev.dashboards.edges import EDGES
from jettythunder_dev.dashboards.events import EVENTS
from jettythunder_dev.dashboards.metering import METERING
from jettythunder_dev.dashboards.model import Dashboard, Panel, Query
from jettythunder_dev.dashboards.overview import OVERVIEW
from jettythunder_dev.dashboards.transfers import TRANSFERS
from jettythunder_dev.dashboards.webhooks import WEBHOOKS
from jettythunder_dev.layout import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "observability" / "grafana" / "dashboards"
DASHBOARDS = (OVERVIEW, TRANSFERS, EVENTS, EDGES, METERING, BROKER, WEBHOOKS)

# As deploy/observability/grafana/provisioning names it.
_SOURCE = models.DataSourceRef(type_val="prometheus", uid="prometheus")

_GRAPH_WIDTH, _GRAPH_HEIGHT = 12, 8
_FIGURE_WIDTH, _FIGURE_HEIGHT = 4, 4


def current_files() -> list[tuple[Path, str]]:
    """Every dashboard's path and text."""
    return [(FOLDER / f"{each.uid.partition('-')[2]}.json", text_of(each)) for each in DASHBOARDS]


def text_of(dashboard: Dashboard) -> str:
    """A dashboard as JSON."""
    built = (
        grafana.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .tags(["jettythunder"])
        .readonly()
        .refresh("30s")
        .time("now-3h", "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
    )
    for title, panels in dashboard.rows:
        built = built.with_row(grafana.Row(title))
        for panel in panels:
            built = built.with_panel(_figure(panel) if panel.figure else _graph(panel))
    return json.dumps(built.build(), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _graph(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .min(0)
        .span(_GRAPH_WIDTH)
        .height(_GRAPH_HEIGHT)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
    )
    if panel.most is not None:
        built = built.max(panel.most)
    for ref, query in zip(ascii_uppercase, panel.queries, strict=False):
        built = built.with_target(_target(ref, query))
    return built


def _figure(panel: Panel) -> stat.Panel:
    built = (
        stat.Panel()
        .title(panel.title)
        .description(panel.description)
        .datasource(_SOURCE)
        .unit(panel.unit)
        .span(_FIGURE_WIDTH)
        .height(_FIGURE_HEIGHT)
        .color_mode(BigValueColorMode.VALUE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        .thresholds(_thresholds(panel))
    )
    for ref, query in zip(ascii_uppercase, panel.queries, strict=False):
        built = built.with_target(_target(ref, query))
    return built


def _target(ref: str, query: Query) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id(ref)
        .datasource(_SOURCE)
        .expr(query.expr)
        .legend_format(query.legend)
        .range()
    )


def _thresholds(panel: Panel) -> grafana.ThresholdsConfig:
    steps = [models.Threshold(value=None, color="red" if panel.red_below is not None else "green")]
    if panel.red_below is not None:
        steps.append(models.Threshold(value=panel.red_below, color="green"))
    if panel.red_from is not None:
        steps.append(models.Threshold(value=panel.red_from, color="red"))
    return grafana.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)
