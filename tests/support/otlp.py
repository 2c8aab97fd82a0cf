"""A collector of traces in this process: takes OTLP over HTTP, and keeps the spans in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as RawSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True)
class Span:
    """A span as it was received; ids are hexadecimal, and ``parent_id`` is empty where it has none."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, object]
    links: Sequence[tuple[str, str]]
    is_failed: bool


@dataclass
class Collector:
    """What was received at ``url``; ``bodies`` are the requests as they came."""

    url: str
    spans: list[Span] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    def trace(self, trace_id: str) -> list[Span]:
        """The spans of a trace, by their start."""
        found = [span for span in list(self.spans) if span.trace_id == trace_id]
        return sorted(found, key=lambda span: span.start_ns)

    def named(self, name: str) -> list[Span]:
        """The spans of that name, by their start."""
        return sorted(
            (span for span in list(self.spans) if span.name == name), key=lambda span: span.start_ns
        )

    def take(self, body: bytes) -> None:
        """Take a request."""
        self.bodies.append(body)
        request = ExportTraceServiceRequest.FromString(body)
        for resource_spans in request.resource_spans:
            service = str(_attributes(resource_spans.resource.attributes).get("service.name"))
            for scope_spans in resource_spans.scope_spans:
                self.spans.extend(_span(service, raw) for raw in scope_spans.spans)


@contextmanager
def running_collector() -> Iterator[Collector]:
    """A collector on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield collector
        finally:
            server.shutdown()


def _span(service: str, raw: RawSpan) -> Span:
    return Span(
        service=service,
        name=raw.name,
        kind=RawSpan.SpanKind.Name(raw.kind).removeprefix("SPAN_KIND_").lower(),
        trace_id=raw.trace_id.hex(),
        span_id=raw.span_id.hex(),
        parent_id=raw.parent_span_id.hex(),
        start_ns=raw.start_time_unix_nano,
        end_ns=raw.end_time_unix_nano,
        attributes=_attributes(raw.attributes),
        links=[(link.trace_id.hex(), link.span_id.hex()) for link in raw.links],
        is_failed=raw.status.code == Status.STATUS_CODE_ERROR,
    )


def _attributes(given: Sequence[KeyValue]) -> dict[str, object]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in given}
