"""Whether JettyThunder keeps its objectives, and what it has to do with it."""

from jettythunder_dev.dashboards.model import SERVICES, Dashboard, figure, graph

_CALLS = '{path=~"/(api|edge)/.*"}'


def _kept(slo: str, share: float) -> str:
    """What is left of the three days' budget of errors; all of it where nobody called."""
    return f'max(1 - slo:jettythunder_errors:ratio_rate3d{{slo="{slo}"}} / {share}) >= -1e9 or vector(1)'


OVERVIEW = Dashboard(
    uid="jettythunder-overview",
    title="JettyThunder: overview and objectives",
    rows=[
        (
            "Objectives",
            [
                figure(
                    "Calls that do not fail, 30 minutes",
                    'max(1 - slo:jettythunder_errors:ratio_rate30m{slo="availability"}) >= 0 or vector(1)',
                    unit="percentunit",
                    red_below=0.999,
                    description="The objective is 99.9 %.",
                ),
                figure(
                    "Stored within 5 s, 30 minutes",
                    'max(1 - slo:jettythunder_errors:ratio_rate30m{slo="storing"}) >= 0 or vector(1)',
                    unit="percentunit",
                    red_below=0.99,
                    description="From the last byte of an upload or chunk to its answer. The objective is 99 %.",
                ),
                figure(
                    "Budget of failures left, 3 days",
                    _kept("availability", 0.001),
                    unit="percentunit",
                    red_below=0,
                ),
                figure(
                    "Budget of slow stores left, 3 days",
                    _kept("storing", 0.01),
                    unit="percentunit",
                    red_below=0,
                ),
                figure(
                    "Alerts that fire",
                    'sum(ALERTS{alertstate="firing"}) or vector(0)',
                    unit="none",
                    red_from=1,
                ),
                graph(
                    "How fast the budget of failures burns",
                    *(
                        (
                            f'slo:jettythunder_errors:ratio_rate{window}{{slo="availability"}} / 0.001',
                            f"over {window}",
                        )
                        for window in ("5m", "1h", "6h", "3d")
                    ),
                    description="1 uses up the budget of a month in a month. Alerts begin at 14.4 over an hour, "
                    "6 over six hours, 3 over a day, 1 over three days.",
                ),
                graph(
                    "How fast the budget of slow stores burns",
                    *(
                        (
                            f'slo:jettythunder_errors:ratio_rate{window}{{slo="storing"}} / 0.01',
                            f"over {window}",
                        )
                        for window in ("5m", "1h", "6h", "3d")
                    ),
                ),
            ],
        ),
        (
            "Calls",
            [
                graph(
                    "Calls",
                    (f"sum by (outcome) (rate(jettythunder_http_requests_total{_CALLS}[5m]))", "{{outcome}}"),
                    unit="reqps",
                    description="Refused is what the caller has to change; failed is ours.",
                ),
                graph(
                    "Errors that were answered, by code",
                    ("topk(10, sum by (code) (rate(jettythunder_http_problems_total[5m])))", "{{code}}"),
                    unit="reqps",
                    description="The codes are those of docs/errors.md.",
                ),
                graph(
                    "Success of each call",
                    (
                        f"job_method_path:jettythunder_http_requests:success_ratio5m{_CALLS}",
                        "{{method}} {{path}}",
                    ),
                    unit="percentunit",
                    most=1,
                ),
                graph(
                    "p99 of each call",
                    (
                        f"job_method_path:jettythunder_http_request_seconds:p99_5m{_CALLS}",
                        "{{method}} {{path}}",
                    ),
                    unit="s",
                    description="From the last byte of the request to the first byte of its answer.",
                ),
            ],
        ),
        (
            "Services",
            [
                graph(
                    "Instances that answer",
                    (f'sum by (job) (up{{job=~"{SERVICES}"}})', "{{job}}"),
                    unit="none",
                ),
                graph(
                    "Servers that are reached",
                    ("min by (job, server) (jettythunder_server_reachable)", "{{job}}: {{server}}"),
                    unit="none",
                    most=1,
                    description="1 where every instance of the service reaches the server.",
                ),
                graph(
                    "Memory",
                    (
                        f'process_resident_memory_bytes{{job=~"{SERVICES}"}}',
                        "{{job}} {{instance}}",
                    ),
                    unit="bytes",
                ),
                graph(
                    "Processors",
                    (
                        f'rate(process_cpu_seconds_total{{job=~"{SERVICES}"}}[5m])',
                        "{{job}} {{instance}}",
                    ),
                    description="1 is a processor that is always busy.",
                ),
                graph(
                    "Open connections",
                    ("sum by (job) (jettythunder_http_connections)", "{{job}}"),
                    unit="none",
                ),
                graph(
                    "Failed runs of work that repeats",
                    (
                        'topk(10, sum by (job, work) (increase(jettythunder_periodic_runs_total{outcome="failed"}[1h])))',
                        "{{job}}: {{work}}",
                    ),
                    unit="none",
                ),
            ],
        ),
    ],
)
