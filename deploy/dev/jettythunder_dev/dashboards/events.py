"""Events from the outbox to their consumers, and what becomes of those that fail."""

from jettythunder_dev.dashboards.model import Dashboard, figure, graph, quantiles

_QUEUES = (
    '{queue=~"(storage-gateway|chunk-worker|provisioning|usage-meter)[.].*", queue!~".*[.]dead-letters"}'
)
_DEAD = '{queue=~".*[.]dead-letters"}'

EVENTS = Dashboard(
    uid="jettythunder-events",
    title="JettyThunder: events and queues",
    rows=[
        (
            "Outbox and relay",
            [
                figure(
                    "Age of the oldest event not published",
                    "max(jettythunder_outbox_lag_seconds)",
                    unit="s",
                    red_from=60,
                ),
                figure("Events in the outbox", "max(jettythunder_outbox_backlog)", unit="none"),
                figure(
                    "Events that no queue takes, 1 hour",
                    "sum(increase(jettythunder_outbox_quarantined_total[1h]))",
                    unit="none",
                    red_from=1,
                ),
                graph(
                    "Events published",
                    ("sum by (job) (rate(jettythunder_outbox_published_total[5m]))", "{{job}}"),
                    unit="ops",
                ),
                graph(
                    "Age of the outbox", ("max(jettythunder_outbox_lag_seconds)", "oldest event"), unit="s"
                ),
            ],
        ),
        (
            "Consumers",
            [
                graph(
                    "Messages processed",
                    (
                        'sum by (queue) (rate(jettythunder_messages_total{outcome=~"processed|denied"}[5m]))',
                        "{{queue}}",
                    ),
                    unit="ops",
                ),
                graph(
                    "Messages that failed or wait",
                    (
                        'sum by (queue, outcome) (rate(jettythunder_messages_total{outcome=~"retried|waiting|dead_lettered"}[5m]))',
                        "{{queue}} {{outcome}}",
                    ),
                    unit="ops",
                ),
                graph(
                    "Success of each type",
                    ("queue_type:jettythunder_messages:success_ratio5m", "{{queue}} {{type}}"),
                    unit="percentunit",
                    most=1,
                ),
                graph(
                    "p99 in the handler",
                    ("queue_type:jettythunder_message_seconds:p99_5m", "{{queue}} {{type}}"),
                    unit="s",
                ),
                graph(
                    "Events seen before",
                    ("sum(rate(jettythunder_duplicates_total[5m])) or vector(0)", "passed over"),
                    unit="ops",
                ),
                graph("Messages in a batch", *quantiles("jettythunder_batch_size"), unit="none"),
            ],
        ),
        (
            "Queues",
            [
                graph(
                    "Messages that wait",
                    (f"max by (queue) (rabbitmq_detailed_queue_messages_ready{_QUEUES})", "{{queue}}"),
                    unit="none",
                ),
                graph(
                    "Messages under way",
                    (f"max by (queue) (rabbitmq_detailed_queue_messages_unacked{_QUEUES})", "{{queue}}"),
                    unit="none",
                ),
                graph(
                    "Consumers",
                    (f"max by (queue) (rabbitmq_detailed_queue_consumers{_QUEUES})", "{{queue}}"),
                    unit="none",
                ),
                graph(
                    "Dead letters",
                    (f"max by (queue) (rabbitmq_detailed_queue_messages{_DEAD})", "{{queue}}"),
                    unit="none",
                ),
            ],
        ),
        (
            "Event log",
            [
                graph(
                    "Hours in the event log",
                    ("min(jettythunder_event_log_held_hours)", "held now"),
                    ("min(jettythunder_event_log_hours)", "kept at the present rate"),
                    unit="h",
                ),
                figure(
                    "Shorter than EVENT_LOG_WARN_HOURS",
                    "max(jettythunder_event_log_short)",
                    unit="none",
                    red_from=1,
                ),
                graph(
                    "Messages in the event log",
                    ('max(rabbitmq_detailed_queue_messages{queue="event-log"})', "events"),
                    unit="none",
                ),
            ],
        ),
    ],
)
