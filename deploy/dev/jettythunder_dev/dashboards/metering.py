"""Metering and quotas: whether use is booked, rolled up and right."""

from jettythunder_dev.dashboards.model import Dashboard, figure, graph, quantiles

METERING = Dashboard(
    uid="jettythunder-metering",
    title="JettyThunder: metering and quotas",
    rows=[
        (
            "Booking",
            [
                graph(
                    "Facts booked",
                    ("sum by (outcome) (rate(jettythunder_meter_facts_total[5m]))", "{{outcome}}"),
                    unit="ops",
                ),
                graph(
                    "Events that wait to be booked",
                    (
                        'max by (queue) (rabbitmq_detailed_queue_messages{queue=~"usage-meter[.]events.*"})',
                        "{{queue}}",
                    ),
                    unit="none",
                ),
                graph(
                    "Events in a batch",
                    *quantiles("jettythunder_batch_size", '{queue="usage-meter.events"}'),
                    unit="none",
                ),
                graph(
                    "Reservations released after their time",
                    ("sum(increase(jettythunder_meter_expired_holds_total[1h])) or vector(0)", "in an hour"),
                    unit="none",
                ),
            ],
        ),
        (
            "Ledger and hours",
            [
                figure(
                    "Bytes of drift",
                    "max(jettythunder_meter_drift_bytes)",
                    unit="bytes",
                    red_from=1,
                    description="Bucket, assets, ledger, counters and hours compared: what the last looks found "
                    "and nobody has mended since.",
                ),
                figure(
                    "Time since drift was measured",
                    "time() - (max(jettythunder_meter_drift_measured_timestamp_seconds) > 0)",
                    unit="s",
                ),
                figure(
                    "Time since partitions were kept",
                    'time() - min(jettythunder_periodic_success_timestamp_seconds{work=~"keep-.*"})',
                    unit="s",
                    red_from=21600,
                ),
                graph(
                    "Hours behind the ledger",
                    ("max(jettythunder_meter_rollup_backlog)", "hours"),
                    unit="none",
                ),
                graph(
                    "Time since scheduled work was last done",
                    (
                        'min by (work) (time() - jettythunder_periodic_success_timestamp_seconds{job="usage-meter"})',
                        "{{work}}",
                    ),
                    unit="s",
                ),
            ],
        ),
        (
            "Quotas",
            [
                graph(
                    "Refused for a quota",
                    (
                        'sum by (code) (rate(jettythunder_http_problems_total{code=~"storage_quota_exceeded|bandwidth_quota_exceeded|storage_not_included"}[5m]))',
                        "{{code}}",
                    ),
                    unit="reqps",
                ),
                graph(
                    "What was announced of quotas",
                    (
                        'sum by (type) (increase(jettythunder_messages_total{queue="usage-meter.webhooks", outcome="processed"}[1h]))',
                        "{{type}}",
                    ),
                    unit="none",
                ),
            ],
        ),
    ],
)
