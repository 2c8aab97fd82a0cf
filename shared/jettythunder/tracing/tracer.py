"""The tracer of a process: the only module that knows OpenTelemetry.

Guarantees given here: a span belongs to a trace of ours, and to a client's only where that is trusted; what
happens to one message is in the trace that caused it; a batch of messages and a replay have traces of their
own with links to those; nothing waits for the collector, but for a few seconds when the process ends.
"""

import asyncio
import contextlib
import os
import random
import re
import socket
import threading
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    TraceState,
)

from jettythunder import __version__
from jettythunder.contracts.envelope import Event
from jettythunder.errors import JettyThunderError
from jettythunder.settings import ProcessSettings
from jettythunder.tracing import UNRECORDED, Attributes, Span

# Shorter than a service may take to end (DRAIN_SECONDS), which a silent collector must not delay.
_EXPORT_SECONDS = 3.0
_CLOSE_SECONDS = 3.0

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?")
_LONGEST_TRACESTATE = 512
_NO_PARENT = Context()
# Of most messages, so it is told without making a context of it.
_UNSAMPLED = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][02468ace]")

# The trace that work belongs to; None where it belongs to none.
_current: "ContextVar[_Current | _Unsampled | None]" = ContextVar("trace", default=None)


class Tracer:
    """Makes spans, and sends them to OTEL_EXPORTER_OTLP_ENDPOINT by OTLP over HTTP.

    Of the traces that begin here, as many are recorded as OTEL_TRACES_SAMPLER_ARG says, and each that begins
    with a link to a recorded one. What belongs to a trace follows its decision. Most are not recorded, and
    each message belongs to one, so OpenTelemetry is called for recorded ones only.
    """

    def __init__(self, service: str, settings: ProcessSettings) -> None:
        endpoint = str(settings.otel_exporter_otlp_endpoint).rstrip("/")
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=_resource(service, settings),
            # It would wait for the collector for as long as that takes.
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=_EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("jettythunder", __version__)
        self._ratio = settings.otel_traces_sampler_arg

    async def close(self) -> None:
        """Send what was recorded, as far as the collector takes it within a few seconds."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            # The loop is closed where the collector took longer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await ended.wait()

    def serving(
        self, method: str, *, traceparent: str | None, tracestate: str | None, is_trusted: bool
    ) -> Span:
        """The handling of a request. A client that is not trusted gets a link, and decides nothing."""
        given = _context_of(traceparent, tracestate if is_trusted else None)
        attributes = {"http.request.method": method}
        if given is None or is_trusted:
            return self._begin(method, SpanKind.SERVER, attributes, parent=given)
        return self._begin(method, SpanKind.SERVER, attributes, links=(_unsampled(given),))

    def creation_context(
        self, destination: str, event_type: str, message_id: UUID, *, correlation: str | None, account: object
    ) -> Mapping[str, str]:
        """What a new message carries: the context of the span that is its sending."""
        current = _current.get()
        if isinstance(current, _Unsampled):
            return current.headers
        if current is None and not self._is_chosen():
            return _unrecorded()
        attributes: Attributes = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "send",
            "messaging.operation.name": "send",
            "messaging.destination.name": destination,
            "messaging.rabbitmq.destination.routing_key": event_type,
            "messaging.message.id": str(message_id),
            "messaging.message.conversation_id": correlation or str(message_id),
            **_account(account),
        }
        span = self._start(f"send {destination}", SpanKind.PRODUCER, attributes, within=current)
        span.end()
        return _headers(span.get_span_context())

    def processing(self, queue: str, event: Event[Any], *, attempt: int, is_replayed: bool) -> Span:
        """The handling of one message, in the trace that caused it; a replay begins a trace of its own."""
        creation = _creation_of(event)
        if not is_replayed and isinstance(creation, dict):
            return _Unsampled(creation)
        name = f"process {queue}"
        attributes: Attributes = {
            **_processing(queue),
            "messaging.rabbitmq.destination.routing_key": event.type,
            "messaging.message.id": str(event.id),
            "messaging.message.conversation_id": event.correlation,
            "jettythunder.attempt": attempt,
            "jettythunder.replayed": is_replayed,
            **_account(event.data),
        }
        context = _context_of(event.traceparent, event.tracestate)
        if not is_replayed:
            return self._begin(name, SpanKind.CONSUMER, attributes, parent=context)
        links = (context,) if context is not None else ()
        return self._begin(name, SpanKind.CONSUMER, attributes, links=links)

    def processing_batch(self, queue: str, events: Sequence[Event[Any]], *, is_replayed: bool) -> Span:
        """The handling of many messages, with a link to each that is recorded.

        Where all belong to one trace it is a part of that; else it is a trace of its own, which is recorded
        if one of theirs is.
        """
        created = [_creation_of(event) for event in events]
        sampled = [context for context in created if isinstance(context, SpanContext)]
        unsampled = [headers for headers in created if isinstance(headers, dict)]
        if unsampled and not sampled:
            return _Unsampled(unsampled[0])
        attributes: Attributes = {
            **_processing(queue),
            "messaging.batch.message_count": len(events),
            "jettythunder.replayed": is_replayed,
        }
        is_one_trace = len(sampled) == len(events) and len({context.trace_id for context in sampled}) == 1
        parent = sampled[0] if is_one_trace and not is_replayed else None
        return self._begin(f"process {queue}", SpanKind.CONSUMER, attributes, parent=parent, links=sampled)

    def calling(self, name: str, attributes: Attributes) -> Span:
        """A call of another server, as a part of what is recorded now."""
        current = _current.get()
        if isinstance(current, _Current):
            return _Recorded(self._start(name, SpanKind.CLIENT, attributes, within=current))
        return UNRECORDED if current is None else _Passed(current.headers)

    def statement(self, package: str, name: str) -> Span:
        """A statement of a package's queries.sql, as a part of what is recorded now."""
        current = _current.get()
        if not isinstance(current, _Current):
            return UNRECORDED
        attributes = {"db.system.name": "postgresql", "db.query.summary": f"{package} {name}"}
        return _Recorded(self._start(name, SpanKind.CLIENT, attributes, within=current))

    def identifiers(self) -> Mapping[str, str]:
        """``trace_id`` and ``span_id`` of what is recorded now."""
        current = _current.get()
        if not isinstance(current, _Current):
            return {}
        return {"trace_id": f"{current.context.trace_id:032x}", "span_id": f"{current.context.span_id:016x}"}

    def _begin(
        self,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        *,
        parent: SpanContext | None = None,
        links: Sequence[SpanContext] = (),
    ) -> "_Current | _Unsampled":
        """What everything inside is a part of, whether it is recorded or not."""
        if parent is not None:
            if not parent.trace_flags.sampled:
                return _Unsampled(_headers(parent))
            within = trace.set_span_in_context(NonRecordingSpan(parent), _NO_PARENT)
        elif self._is_chosen() or any(context.trace_flags.sampled for context in links):
            within = _NO_PARENT
        else:
            return _Unsampled(_unrecorded())
        linked = [Link(context) for context in links]
        return _Current(self._tracer.start_span(name, within, kind, attributes, linked))

    def _start(
        self, name: str, kind: SpanKind, attributes: Attributes, *, within: "_Current | None"
    ) -> trace.Span:
        context = _NO_PARENT if within is None else within.inside
        return self._tracer.start_span(name, context, kind, attributes)

    def _is_chosen(self) -> bool:
        """Whether a trace that begins now is recorded."""
        return random.random() < self._ratio  # noqa: S311 - no secret


class _Recorded(Span):
    """A span that is recorded, and that nothing else is a part of."""

    is_recorded = True

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.context = span.get_span_context()

    @property
    def headers(self) -> Mapping[str, str]:
        return _headers(self.context)

    def note(self, attributes: Attributes, *, name: str | None = None) -> None:
        self._span.set_attributes(attributes)
        if name is not None:
            self._span.update_name(name)

    def fail(self, error_type: str) -> None:
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(StatusCode.ERROR)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The end of a generator that is not read to its end is no failure.
        if error is not None and not isinstance(error, GeneratorExit):
            self.fail(_error_type(error))
        self._span.end()


class _Current(_Recorded):
    """A span that is recorded, and that everything inside is a part of."""

    def __init__(self, span: trace.Span) -> None:
        super().__init__(span)
        self.inside = trace.set_span_in_context(span, _NO_PARENT)

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._token)
        super().__exit__(kind, error, trace)


class _Passed(Span):
    """A trace that is not recorded, for what is called to know."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers


class _Unsampled(_Passed):
    """A trace that is not recorded, for everything inside."""

    def __enter__(self) -> Self:
        self._token = _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.reset(self._token)


class _Resource(Resource):
    # The exporter looks it up for each span, and its own hash writes it as JSON each time.
    __hash__ = object.__hash__


def _resource(service: str, settings: ProcessSettings) -> Resource:
    """What the process is; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES add to it or replace it."""
    ours = {
        "service.namespace": "jettythunder",
        "service.name": service,
        "service.version": __version__,
        "service.instance.id": f"{socket.gethostname()}-{os.getpid()}",
        "deployment.environment.name": settings.jettythunder_environment,
    }
    return _Resource({**ours, **OTELResourceDetector().detect().attributes})


def _context_of(traceparent: str | None, tracestate: str | None) -> SpanContext | None:
    """The context that a message or request names; None where it names none."""
    found = None if traceparent is None else _TRACEPARENT.fullmatch(traceparent)
    if found is None:
        return None
    state = None
    if tracestate and len(tracestate) <= _LONGEST_TRACESTATE:
        state = TraceState.from_header([tracestate])
    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags), trace_state=state)
    return context if context.is_valid else None


def _creation_of(event: Event[Any]) -> SpanContext | dict[str, str] | None:
    """The context that an event was made in, as headers where it is not recorded; None where it has none."""
    if event.traceparent and event.tracestate is None and _UNSAMPLED.fullmatch(event.traceparent):
        return {"traceparent": event.traceparent}
    context = _context_of(event.traceparent, event.tracestate)
    return context if context is None or context.trace_flags.sampled else _headers(context)


def _unrecorded() -> dict[str, str]:
    """The headers of a trace that begins now, and is not recorded. Its id is random, as its flags say."""
    trace_id, span_id = random.getrandbits(128) or 1, random.getrandbits(64) or 1
    return {"traceparent": f"00-{trace_id:032x}-{span_id:016x}-02"}


def _unsampled(context: SpanContext) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, is_remote=True)


def _headers(context: SpanContext) -> dict[str, str]:
    headers = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"}
    if context.trace_state:
        headers["tracestate"] = context.trace_state.to_header()
    return headers


def _processing(queue: str) -> dict[str, str]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": queue,
    }


def _account(data: object) -> dict[str, str]:
    account_id = getattr(data, "account_id", None)
    return {} if account_id is None else {"jettythunder.account_id": str(account_id)}


def _error_type(error: BaseException) -> str:
    return error.code if isinstance(error, JettyThunderError) else type(error).__name__
