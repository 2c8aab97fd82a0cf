"""Draws docs/images/trace.png: an account is made and uploads one file, as Zipkin shows the trace.

Run it with `python -m tests.pictures.trace`. It starts all services on servers of its own; their spans come
by OTLP over HTTP, and go on to a Zipkin that Maven fetches. It needs Java, Maven and Chromium.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from matplotlib import image
from tests.support.infrastructure import running_infrastructure
from tests.support.otlp import Collector, Span, running_collector
from tests.support.traced_services import TracedServices, receiving_webhooks, some_file, traced_services
from tests.support.waiting import eventually, eventually_sync

from jettythunder import tracing
from jettythunder.settings import ProcessSettings
from jettythunder_dev.layout import REPOSITORY, find_layout

ZIPKIN = "io.zipkin:zipkin-server:3.5.1:jar:exec"
NEEDED = {"java": "openjdk-17-jre-headless", "mvn": "maven", "chromium": "chromium"}
WAIT_SECONDS = 60
CHUNKS = 2
# Of Zipkin's page: its list of spans, without the tags of the chosen one on the right.
WINDOW_WIDTH, LIST_WIDTH, HEAD_HEIGHT, ROW_HEIGHT = 1500, 1014, 286, 30
# Chromium counts a title bar in the height of its window that it does not draw.
TITLE_BAR_HEIGHT = 200
SERVICES = {"storage-gateway", "provisioning", "chunk-worker", "usage-meter", "operations"}
ROOT = "an account is made and uploads a file"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=REPOSITORY / "docs/images/trace.png")
    given = parser.parse_args()
    install_missing()
    with running_zipkin(zipkin_jar()) as zipkin:
        spans = asyncio.run(spans_of_one_upload())
        missing = SERVICES - {span.service for span in spans}
        if missing:
            raise SystemExit(f"The trace lacks {', '.join(sorted(missing))}; see the services' logs.")
        shown = [span for span in spans if "db.system.name" not in span.attributes]
        httpx.post(f"{zipkin}/api/v2/spans", json=[zipkin_span(span) for span in shown]).raise_for_status()
        draw(f"{zipkin}/zipkin/traces/{spans[0].trace_id}", given.output, rows=len(shown))
    print(f"Wrote {given.output}: {len(shown)} of {len(spans)} spans, statements of the database left out.")


def install_missing() -> None:
    """Install the programs that are not there, with apt."""
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if missing:
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing], check=True)


def zipkin_jar() -> Path:
    """Zipkin's server, fetched once."""
    folder = find_layout(None, {}).cache / "zipkin"
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob("*.jar")):
        copy = f"-Dartifact={ZIPKIN}", f"-DoutputDirectory={folder}"
        subprocess.run(["mvn", "-q", "-B", "dependency:copy", *copy], check=True)
    [jar] = folder.glob("*.jar")
    return jar


@contextmanager
def running_zipkin(jar: Path) -> Iterator[str]:
    """Zipkin on a free port, with nothing in it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = ["java", "-Xmx256m", "-jar", str(jar)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, env={"QUERY_PORT": str(port), "PATH": "/usr/bin:/bin"}, stdout=log)

        def is_up() -> bool:
            with suppress(httpx.HTTPError):
                return httpx.get(f"{url}/health").is_success
            return False

        try:
            eventually_sync(is_up, timeout_seconds=WAIT_SECONDS)
            yield url
        finally:
            server.terminate()
            server.wait()


async def spans_of_one_upload() -> Sequence[Span]:
    """The spans of one trace, by their start: an account is made, uploads a file, and is looked at."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running_infrastructure() as infrastructure,
        running_collector() as collector,
    ):
        async with receiving_webhooks() as receiver:
            given = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "AGENTCACHE_WEBHOOK_URL": receiver.url,
                "TRACEPARENT_OF_CLIENTS": "parent",
            }
            with traced_services(infrastructure, Path(folder), given) as services:
                trace_id = await _demonstrate(services, collector)
        return collector.trace(trace_id)


async def _demonstrate(services: TracedServices, collector: Collector) -> str:
    settings: dict[str, Any] = {
        "database_url": services.environment["DATABASE_URL"],
        "jettythunder_ops_token": "t" * 32,
        "jettythunder_environment": "test",
        "otel_exporter_otlp_endpoint": collector.url,
        "otel_traces_sampler_arg": 1.0,
    }
    tracer = tracing.begin("agentcache", ProcessSettings(**settings))
    correlation = uuid4().hex
    async with httpx.AsyncClient(timeout=60) as http:
        with tracer.serving("GET", traceparent=None, tracestate=None, is_trusted=False) as root:
            root.note({}, name=ROOT)
            trace_id = tracing.identifiers()["trace_id"]
            content = some_file(CHUNKS)
            with tracing.calling("POST provision", {}) as call:
                tenant = await services.provision(
                    http, quota_bytes=len(content) + 2_000_000, headers=call.headers
                )
            with tracing.calling("POST upload", {}) as call:
                headers = {**call.headers, "X-Correlation-ID": correlation}
                (await tenant.upload(content, filename="film.mp4", headers=headers)).raise_for_status()
            await eventually(lambda: collector.named("POST webhook"), timeout_seconds=WAIT_SECONDS)
            with tracing.calling("GET events", {}) as call:
                answer = await http.get(
                    f"{services.operations_url}/admin/events",
                    params={"correlation_id": correlation},
                    headers={**call.headers, **services.operator},
                )
                answer.raise_for_status()
    await tracing.end()
    await eventually(lambda: collector.named("GET /admin/events"), timeout_seconds=WAIT_SECONDS)
    return trace_id


def zipkin_span(span: Span) -> dict[str, object]:
    """A span as Zipkin takes it (https://zipkin.io/zipkin-api/#/default/post_spans)."""
    kind = span.kind.upper()
    return {
        "traceId": span.trace_id,
        "id": span.span_id,
        "parentId": span.parent_id or None,
        "name": span.name,
        "kind": None if kind == "INTERNAL" else kind,
        "timestamp": span.start_ns // 1000,
        "duration": max(1, (span.end_ns - span.start_ns) // 1000),
        "localEndpoint": {"serviceName": span.service},
        "tags": {name: str(value) for name, value in span.attributes.items()},
    }


def draw(url: str, output: Path, *, rows: int) -> None:
    """Write a picture of a trace's page, cut to its list of spans."""
    height = HEAD_HEIGHT + rows * ROW_HEIGHT
    with tempfile.TemporaryDirectory() as profile:
        page = Path(profile) / "page.png"
        subprocess.run(
            [
                "chromium",
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--hide-scrollbars",
                "--disable-background-networking",
                f"--user-data-dir={profile}",
                f"--window-size={WINDOW_WIDTH},{height + TITLE_BAR_HEIGHT}",
                "--virtual-time-budget=15000",
                f"--screenshot={page}",
                url,
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        image.imsave(output, image.imread(page)[:height, :LIST_WIDTH])


if __name__ == "__main__":
    main()
