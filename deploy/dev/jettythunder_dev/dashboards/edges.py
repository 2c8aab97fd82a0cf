"""The edges that take chunks of clients."""

from jettythunder_dev.dashboards.model import Dashboard, graph, quantiles

_CHUNKS = '{path=~"/edge/uploads/.*"}'

EDGES = Dashboard(
    uid="jettythunder-edges",
    title="JettyThunder: edges",
    rows=[
        (
            "Which there are",
            [
                graph(
                    "Edges that are listed",
                    ("max by (state) (jettythunder_edges)", "{{state}}"),
                    unit="none",
                    description="Silent are those that were not heard of for 15 seconds; an hour later they are "
                    "off the list.",
                ),
                graph(
                    "Time since the last heartbeat",
                    (
                        'time() - jettythunder_periodic_success_timestamp_seconds{work="edge-heartbeat"}',
                        "{{instance}}",
                    ),
                    unit="s",
                ),
            ],
        ),
        (
            "Chunks of clients",
            [
                graph(
                    "Chunks",
                    (
                        f"sum by (instance, outcome) (rate(jettythunder_http_requests_total{_CHUNKS}[5m]))",
                        "{{instance}} {{outcome}}",
                    ),
                    unit="reqps",
                ),
                graph(
                    "Bytes that arrive",
                    (
                        f"sum by (instance) (rate(jettythunder_http_received_bytes_total{_CHUNKS}[5m]))",
                        "{{instance}}",
                    ),
                    unit="Bps",
                ),
                graph(
                    "Time of storing",
                    *quantiles("jettythunder_http_request_seconds", _CHUNKS, by="instance"),
                    unit="s",
                    description="From the last byte of the chunk to its answer.",
                ),
                graph(
                    "Chunks refused",
                    (
                        'topk(10, sum by (code) (rate(jettythunder_http_problems_total{job=~"chunk-worker|edge"}[5m])))',
                        "{{code}}",
                    ),
                    unit="reqps",
                ),
                graph(
                    "Bytes in flight",
                    ("jettythunder_edge_in_flight_bytes", "{{instance}}"),
                    ("jettythunder_edge_budget_bytes", "{{instance}} at most"),
                    unit="bytes",
                ),
                graph(
                    "Records in AgentCache",
                    ("sum(rate(jettythunder_agentcache_records_total[5m])) or vector(0)", "all"),
                    (
                        'sum(rate(jettythunder_agentcache_records_total{outcome!="recorded"}[5m])) or vector(0)',
                        "not recorded",
                    ),
                    unit="ops",
                ),
            ],
        ),
    ],
)
