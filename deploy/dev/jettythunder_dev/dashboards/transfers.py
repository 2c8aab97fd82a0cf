"""Uploads and downloads, from the gateway to the object storage."""

from jettythunder_dev.dashboards.model import Dashboard, graph, quantiles

_STORING = '{method=~"POST|PUT", path=~"/api/storage/upload|/api/storage/uploads/[{]upload_id[}]/complete|/edge/uploads/.*"}'
_READING = '{path=~"/api/storage/(download|stream/.*)"}'

TRANSFERS = Dashboard(
    uid="jettythunder-transfers",
    title="JettyThunder: uploads and downloads",
    rows=[
        (
            "Uploads",
            [
                graph(
                    "Uploads by how they ended",
                    ("sum by (ending) (rate(jettythunder_uploads_total[5m]))", "{{ending}}"),
                    unit="ops",
                ),
                graph(
                    "Bytes of new assets",
                    ("sum(rate(jettythunder_stored_bytes_total[5m]))", "stored"),
                    unit="Bps",
                ),
                graph(
                    "Bytes that arrive",
                    (
                        'sum by (path) (rate(jettythunder_http_received_bytes_total{path=~"/api/storage/upload|/edge/uploads/.*"}[5m]))',
                        "{{path}}",
                    ),
                    unit="Bps",
                ),
                graph(
                    "Time of storing",
                    *quantiles("jettythunder_http_request_seconds", _STORING, by="path"),
                    unit="s",
                    description="From the last byte of an upload or chunk to its answer.",
                ),
                graph(
                    "The spool",
                    ("jettythunder_spool_bytes", "{{instance}}"),
                    ("jettythunder_spool_budget_bytes", "{{instance}} at most"),
                    unit="bytes",
                ),
                graph(
                    "Refused for lack of room",
                    (
                        'sum by (code) (rate(jettythunder_http_problems_total{code=~"gateway_busy|spool_full|edge_busy|too_many_uploads"}[5m]))',
                        "{{code}}",
                    ),
                    unit="reqps",
                ),
            ],
        ),
        (
            "Chunks",
            [
                graph(
                    "Chunks stored",
                    ("sum by (instance) (rate(jettythunder_chunk_seconds_count[5m]))", "{{instance}}"),
                    unit="ops",
                ),
                graph(
                    "Bytes to the object storage",
                    ("sum by (instance) (rate(jettythunder_chunk_bytes_total[5m]))", "{{instance}}"),
                    unit="Bps",
                ),
                graph(
                    "Time to store a chunk",
                    *quantiles("jettythunder_chunk_seconds"),
                    unit="s",
                    description="At an edge it contains the time that the client takes to send the chunk.",
                ),
                graph(
                    "Chunks sent again, and bytes verified",
                    ("sum(rate(jettythunder_chunks_repeated_total[5m]))", "chunks sent again per second"),
                    ("sum(rate(jettythunder_verified_bytes_total[5m]))", "bytes verified per second"),
                ),
            ],
        ),
        (
            "Downloads",
            [
                graph(
                    "Downloads",
                    (
                        f"sum by (path, outcome) (rate(jettythunder_http_requests_total{_READING}[5m]))",
                        "{{path}} {{outcome}}",
                    ),
                    unit="reqps",
                    description="A download link leads to the object storage; its bytes are not seen here.",
                ),
                graph(
                    "Bytes streamed",
                    (
                        'sum(rate(jettythunder_http_sent_bytes_total{path=~"/api/storage/stream/.*"}[5m]))',
                        "streamed",
                    ),
                    unit="Bps",
                ),
                graph(
                    "Time to the first byte",
                    *quantiles("jettythunder_http_request_seconds", _READING, by="path"),
                    unit="s",
                ),
                graph(
                    "Streams refused",
                    (
                        'sum by (code) (rate(jettythunder_http_problems_total{code=~"too_many_streams|bandwidth_quota_exceeded"}[5m]))',
                        "{{code}}",
                    ),
                    unit="reqps",
                ),
            ],
        ),
        (
            "Housekeeping",
            [
                graph(
                    "Time since work was last done",
                    (
                        'max by (work) (time() - jettythunder_periodic_success_timestamp_seconds{job="storage-gateway"})',
                        "{{work}}",
                    ),
                    unit="s",
                ),
            ],
        ),
    ],
)
