"""RabbitMQ, as its plugin rabbitmq_prometheus sees it."""

from jettythunder_dev.dashboards.model import Dashboard, figure, graph

BROKER = Dashboard(
    uid="jettythunder-broker",
    title="JettyThunder: broker",
    rows=[
        (
            "Alarms",
            [
                figure("Memory alarm", "max(rabbitmq_alarms_memory_used_watermark)", unit="none", red_from=1),
                figure(
                    "Disk alarm", "max(rabbitmq_alarms_free_disk_space_watermark)", unit="none", red_from=1
                ),
                figure("Nodes that answer", 'sum(up{job="rabbitmq"})', unit="none", red_below=1),
            ],
        ),
        (
            "Node",
            [
                graph(
                    "Memory",
                    ("rabbitmq_process_resident_memory_bytes", "{{instance}}"),
                    (
                        "rabbitmq_resident_memory_limit_bytes",
                        "{{instance}}: publishers are blocked from here on",
                    ),
                    unit="bytes",
                ),
                graph(
                    "Free disk",
                    ("rabbitmq_disk_space_available_bytes", "{{instance}}"),
                    (
                        "rabbitmq_disk_space_available_limit_bytes",
                        "{{instance}}: publishers are blocked below",
                    ),
                    unit="bytes",
                ),
                graph(
                    "Connections and channels",
                    ("rabbitmq_connections", "connections of {{instance}}"),
                    ("rabbitmq_channels", "channels of {{instance}}"),
                    unit="none",
                ),
                graph(
                    "File descriptors",
                    ("rabbitmq_process_open_fds", "{{instance}}"),
                    unit="none",
                ),
            ],
        ),
        (
            "Messages",
            [
                graph(
                    "Messages received",
                    (
                        "sum by (protocol) (rate(rabbitmq_global_messages_received_total[5m]))",
                        "{{protocol}}",
                    ),
                    unit="ops",
                ),
                graph(
                    "Messages delivered",
                    (
                        "sum by (queue_type) (rate(rabbitmq_global_messages_delivered_total[5m]))",
                        "{{queue_type}}",
                    ),
                    unit="ops",
                ),
                graph(
                    "Messages in all queues",
                    ("sum(rabbitmq_queue_messages_ready)", "wait"),
                    ("sum(rabbitmq_queue_messages_unacked)", "under way"),
                    unit="none",
                ),
                graph("Queues", ("sum(rabbitmq_queues)", "queues"), unit="none"),
            ],
        ),
    ],
)
