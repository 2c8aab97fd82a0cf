"""Without OTEL_EXPORTER_OTLP_ENDPOINT there is nothing of traces: not in memory, and not in the outbox."""

import json
import subprocess
import sys
from uuid import uuid4

from jettythunder import outbox, tracing
from jettythunder.contracts.assets import AssetDownloadedV1

_LOADED = """
import sys
from importlib import import_module
import svcs
from jettythunder.lifecycle import open_tracing
from jettythunder.settings import ProcessSettings
for application in sys.argv[1:]:
    import_module(application)
settings = ProcessSettings(
    database_url="postgresql://nobody@localhost/none", jettythunder_ops_token="t" * 32,
    jettythunder_environment="test",
)
open_tracing(svcs.Registry(), settings, service="tested")
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter",
       "opentelemetry.proto", "google.protobuf", "jettythunder.tracing.")) ])
"""


APPLICATIONS = (
    "storage_gateway.app",
    "provisioning.app",
    "chunk_worker.app",
    "chunk_worker.edge.app",
    "usage_meter.app",
    "operations.app",
)


def test_nothing_of_it_is_imported() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, *APPLICATIONS], capture_output=True, text=True, check=True, env={}
    )
    assert done.stdout.strip() == "[]"


def test_no_context_is_stored_with_an_event() -> None:
    payload = AssetDownloadedV1(account_id=uuid4(), asset_id=uuid4(), reservation_id=uuid4(), size_bytes=1)
    [body] = outbox.rows(payload, source="/test").bodies
    assert not {"traceparent", "tracestate"} & json.loads(body).keys()


def test_nothing_is_recorded() -> None:
    with tracing.calling("call", {}) as call:
        assert (call.is_recorded, call.headers) == (False, {})
    assert tracing.identifiers() == {}
    assert tracing.exemplar() is None
