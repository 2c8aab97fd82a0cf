"""Webhooks to AgentCache."""

from jettythunder_dev.dashboards.model import Dashboard, figure, graph, quantiles

WEBHOOKS = Dashboard(
    uid="jettythunder-webhooks",
    title="JettyThunder: webhooks",
    rows=[
        (
            "Deliveries",
            [
                figure(
                    "Not delivered, 1 hour",
                    'sum(increase(jettythunder_webhook_seconds_count{outcome!="delivered"}[1h]))',
                    unit="none",
                    red_from=1,
                    description="Attempts; what is not delivered is tried again.",
                ),
                figure(
                    "Dead letters",
                    'max(rabbitmq_detailed_queue_messages{queue="usage-meter.webhooks.dead-letters"})',
                    unit="none",
                    red_from=1,
                ),
                graph(
                    "Attempts",
                    ("sum by (outcome) (increase(jettythunder_webhook_seconds_count[5m]))", "{{outcome}}"),
                    unit="none",
                    description="In five minutes. Undelivered: the receiver can't be reached, or failed. Refused: "
                    "it does not want the webhook.",
                ),
                graph(
                    "Time of the receiver",
                    *quantiles("jettythunder_webhook_seconds", '{outcome="delivered"}'),
                    unit="s",
                ),
            ],
        ),
        (
            "Their queue",
            [
                graph(
                    "Webhooks that wait",
                    (
                        'max(rabbitmq_detailed_queue_messages{queue="usage-meter.webhooks"})',
                        "in the queue",
                    ),
                    unit="none",
                ),
                graph(
                    "What became of them",
                    (
                        'sum by (outcome) (increase(jettythunder_messages_total{queue="usage-meter.webhooks"}[1h]))',
                        "{{outcome}}",
                    ),
                    unit="none",
                    description="In an hour, by what became of the message.",
                ),
            ],
        ),
    ],
)
