"""What is recorded of requests and messages, in which trace, and what is not.

Each test's spans go over HTTP to a collector in this process, as those of a service do.
"""

import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import svcs
from fastapi import APIRouter, FastAPI
from tests.support.otlp import Collector, Span, running_collector

from jettythunder import http, outbox, telemetry, tracing
from jettythunder.contracts.assets import AssetDownloadedV1
from jettythunder.contracts.envelope import Event
from jettythunder.errors import StorageUnavailable
from jettythunder.lifecycle import open_tracing
from jettythunder.settings import ProcessSettings

SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
ENVIRONMENT = {
    "database_url": "postgresql://nobody@localhost/none",
    "jettythunder_ops_token": "t" * 32,
    "jettythunder_environment": "test",
    "otel_traces_sampler_arg": 1.0,
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@contextlib.asynccontextmanager
async def traced(collector: Collector, **settings: Any) -> AsyncIterator[None]:
    """Everything inside is traced, and has been received afterwards."""
    given: dict[str, Any] = {**ENVIRONMENT, "otel_exporter_otlp_endpoint": collector.url, **settings}
    async with svcs.Registry() as registry:
        open_tracing(registry, ProcessSettings(**given), service="tested")
        yield


def sent() -> Event[AssetDownloadedV1]:
    """An event that is made now, as its consumer decodes it from the outbox."""
    payload = AssetDownloadedV1(account_id=uuid4(), asset_id=uuid4(), reservation_id=uuid4(), size_bytes=1)
    [body] = outbox.rows(payload, source="/test").bodies
    return Event[AssetDownloadedV1].model_validate_json(body)


def serving(traceparent: str | None = None, *, is_trusted: bool = False) -> tracing.Span:
    assert tracing.active is not None
    return tracing.active.serving("GET", traceparent=traceparent, tracestate=None, is_trusted=is_trusted)


def processing(event: Event[Any], *, attempt: int = 1, is_replayed: bool = False) -> tracing.Span:
    assert tracing.active is not None
    return tracing.active.processing("queue", event, attempt=attempt, is_replayed=is_replayed)


def processing_batch(*events: Event[Any], is_replayed: bool = False) -> tracing.Span:
    assert tracing.active is not None
    return tracing.active.processing_batch("queue", events, is_replayed=is_replayed)


def names(traceparent: str | None, span: Span) -> bool:
    """Whether a context is that of this span, and says that it is recorded."""
    version, trace_id, span_id, flags = (traceparent or "").split("-")
    return (version, trace_id, span_id) == ("00", span.trace_id, span.span_id) and int(flags, 16) % 2 == 1


def only(spans: list[Span]) -> Span:
    [span] = spans
    return span


async def test_a_message_belongs_to_what_sent_it(collector: Collector) -> None:
    async with traced(collector):
        with serving():
            event = sent()
        with processing(event):
            pass
    request = only(collector.named("GET"))
    send = only(collector.named("send jettythunder.events"))
    process = only(collector.named("process queue"))
    assert (send.parent_id, send.kind) == (request.span_id, "producer")
    assert (process.parent_id, process.kind) == (send.span_id, "consumer")
    assert {span.trace_id for span in collector.spans} == {request.trace_id}
    assert names(event.traceparent, send)
    common = {
        "messaging.system": "rabbitmq",
        "messaging.rabbitmq.destination.routing_key": "jettythunder.asset.downloaded.v1",
        "messaging.message.id": str(event.id),
        "messaging.message.conversation_id": event.correlation,
        "jettythunder.account_id": str(event.data.account_id),
    }
    assert send.attributes == {
        **common,
        "messaging.operation.type": "send",
        "messaging.operation.name": "send",
        "messaging.destination.name": "jettythunder.events",
    }
    assert process.attributes == {
        **common,
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.destination.name": "queue",
        "jettythunder.attempt": 1,
        "jettythunder.replayed": False,
    }


async def test_a_retry_has_the_same_parent(collector: Collector) -> None:
    async with traced(collector):
        event = sent()
        for attempt in (1, 2):
            with contextlib.suppress(StorageUnavailable), processing(event, attempt=attempt):
                raise StorageUnavailable
    first, second = collector.named("process queue")
    assert first.parent_id == second.parent_id == only(collector.named("send jettythunder.events")).span_id
    assert [span.attributes["jettythunder.attempt"] for span in (first, second)] == [1, 2]
    assert first.is_failed
    assert first.attributes["error.type"] == StorageUnavailable.code


async def test_a_replay_is_a_trace_of_its_own_with_a_link(collector: Collector) -> None:
    async with traced(collector):
        event = sent()
        with processing(event, is_replayed=True):
            consequence = sent()
    created, caused = collector.named("send jettythunder.events")
    replay = only(collector.named("process queue"))
    assert replay.links == [(created.trace_id, created.span_id)]
    assert (replay.parent_id, caused.parent_id) == ("", replay.span_id)
    assert replay.trace_id == caused.trace_id != created.trace_id
    assert names(consequence.traceparent, caused)


async def test_a_batch_of_several_traces_has_links(collector: Collector) -> None:
    async with traced(collector):
        events = [sent(), sent()]
        with processing_batch(*events):
            pass
    batch = only(collector.named("process queue"))
    creations = collector.named("send jettythunder.events")
    assert batch.parent_id == ""
    assert batch.attributes["messaging.batch.message_count"] == 2
    assert batch.links == [(creation.trace_id, creation.span_id) for creation in creations]


async def test_a_batch_of_one_trace_belongs_to_it(collector: Collector) -> None:
    async with traced(collector):
        with serving():
            events = [sent(), sent()]
        with processing_batch(*events):
            pass
        with processing_batch(*events, is_replayed=True):
            pass
    batch, replayed = collector.named("process queue")
    first, second = collector.named("send jettythunder.events")
    assert (batch.parent_id, batch.trace_id) == (first.span_id, first.trace_id)
    assert batch.links == replayed.links == [(each.trace_id, each.span_id) for each in (first, second)]
    assert replayed.parent_id == ""


async def test_what_belongs_to_a_trace_that_is_not_recorded_is_not(collector: Collector) -> None:
    async with traced(collector, otel_traces_sampler_arg=0.0):
        with serving() as request:
            event = sent()
            assert tracing.calling("GET", {}).headers == {"traceparent": event.traceparent}
            assert tracing.identifiers() == {}
            assert tracing.exemplar() is None
        with processing(event), processing_batch(event):
            consequence = sent()
    assert request.headers == {"traceparent": event.traceparent} == {"traceparent": consequence.traceparent}
    assert event.traceparent is not None
    assert int(event.traceparent[-2:], 16) % 2 == 0
    assert collector.spans == []


async def test_a_batch_and_a_replay_are_recorded_where_a_message_of_theirs_is(collector: Collector) -> None:
    async with traced(collector, otel_traces_sampler_arg=0.0):
        plain = sent()
        recorded = plain.model_copy(update={"traceparent": SAMPLED})
        with processing_batch(plain, recorded):
            pass
        with processing(recorded, is_replayed=True):
            pass
        with processing(plain, is_replayed=True):
            pass
    assert [len(span.links) for span in collector.named("process queue")] == [1, 1]


@pytest.mark.parametrize(
    "traceparent", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01", SAMPLED[:-1]]
)
async def test_a_message_with_a_malformed_context_is_handled(collector: Collector, traceparent: str) -> None:
    async with traced(collector):
        event = sent().model_copy(update={"traceparent": traceparent, "tracestate": "=,=" * 400})
        with processing(event), processing_batch(event):
            pass
    assert [span.links for span in collector.named("process queue")] == [[], []]


async def test_calls_are_parts_of_what_is_recorded(collector: Collector) -> None:
    async with traced(collector):
        with tracing.calling("alone", {}) as alone:
            assert alone.headers == {}
        with serving(), tracing.calling("call", {"size": 3}) as call:
            carried = call.headers["traceparent"]
    called, request = only(collector.named("call")), only(collector.named("GET"))
    assert (called.parent_id, called.kind, called.attributes) == (request.span_id, "client", {"size": 3})
    assert names(carried, called)
    assert collector.named("alone") == []


async def test_log_lines_lead_to_the_trace(collector: Collector, capsys: pytest.CaptureFixture[str]) -> None:
    given: dict[str, Any] = ENVIRONMENT
    telemetry.configure("tested", ProcessSettings(**given))
    try:
        async with traced(collector):
            with serving():
                telemetry.logger("test").info("inside")
            telemetry.logger("test").info("outside")
    finally:
        logging.getLogger().handlers.clear()
    inside, outside = capsys.readouterr().out.splitlines()[:2]
    request = only(collector.named("GET"))
    assert f'"trace_id": "{request.trace_id}", "span_id": "{request.span_id}"' in inside
    assert "trace_id" not in outside


class TestRequests:
    """Requests, as an application records them."""

    async def test_a_client_gets_a_link_and_decides_nothing(self, collector: Collector) -> None:
        async with called(collector) as http_client:
            await http_client.get("/things/7?signature=secret", headers={"traceparent": SAMPLED})
        span = only(collector.named("GET /things/{name}"))
        assert (span.parent_id, span.links) == ("", [(SAMPLED[3:35], SAMPLED[36:52])])
        assert span.attributes["http.route"] == "/things/{name}"
        assert span.attributes["http.response.status_code"] == 200
        assert not any(b"secret" in body for body in collector.bodies)

    async def test_a_client_cannot_have_itself_recorded(self, collector: Collector) -> None:
        async with called(collector, otel_traces_sampler_arg=0.0) as http_client:
            await http_client.get("/things/7", headers={"traceparent": SAMPLED})
        assert collector.spans == []

    async def test_a_trusted_client_is_the_parent(self, collector: Collector) -> None:
        async with called(
            collector, otel_traces_sampler_arg=0.0, traceparent_of_clients="parent"
        ) as http_client:
            headers = {"traceparent": SAMPLED, "tracestate": "vendor=1"}
            answer = await http_client.get("/headers", headers=headers)
            await http_client.get("/headers", headers={"traceparent": UNSAMPLED})
        span = only(collector.named("GET /headers"))
        assert (span.trace_id, span.parent_id) == (SAMPLED[3:35], SAMPLED[36:52])
        assert answer.json()["tracestate"] == "vendor=1"

    async def test_an_internal_path_is_trusted_where_there_is_no_internal_port(
        self, collector: Collector
    ) -> None:
        async with called(collector) as http_client:
            await http_client.get("/inside/7", headers={"traceparent": SAMPLED})
        assert only(collector.named("GET /inside/{name}")).trace_id == SAMPLED[3:35]

    async def test_an_internal_path_of_the_public_port_is_not_trusted(self, collector: Collector) -> None:
        async with called(collector, internal_port=5555) as http_client:
            await http_client.get("/inside/7", headers={"traceparent": SAMPLED})
        assert only(collector.spans).trace_id != SAMPLED[3:35]

    async def test_a_failure_is_recorded_without_its_text(self, collector: Collector) -> None:
        async with called(collector) as http_client:
            with pytest.raises(RuntimeError):
                await http_client.get("/fails")
        span = only(collector.named("GET /fails"))
        assert (span.is_failed, span.attributes["error.type"]) == (True, "RuntimeError")
        assert not any(b"secret" in body for body in collector.bodies)

    async def test_a_route_has_its_whole_template(self, collector: Collector) -> None:
        async with called(collector) as http_client:
            await http_client.get("/outer/inner/7")
        assert only(collector.spans).name == "GET /outer/inner/{name}"

    async def test_health_is_not_recorded(self, collector: Collector) -> None:
        async with called(collector) as http_client:
            await http_client.get("/healthz")
        assert collector.spans == []


@contextlib.asynccontextmanager
async def called(collector: Collector, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an application that is traced; what was recorded has been received afterwards."""
    given: dict[str, Any] = {**ENVIRONMENT, "otel_exporter_otlp_endpoint": collector.url, **settings}

    class Settings(ProcessSettings):
        def __init__(self) -> None:
            super().__init__(**given)

    @svcs.fastapi.lifespan
    async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
        open_tracing(registry, app.state.settings, service="tested")
        yield

    app = http.create_app(
        "Test", description="", settings=Settings, lifespan=lifespan, internal_paths=("/inside",)
    )

    @app.get("/things/{name}")
    async def thing(name: str) -> None: ...

    @app.get("/inside/{name}")
    async def inside(name: str) -> None: ...

    outer, inner = APIRouter(prefix="/outer"), APIRouter(prefix="/inner")

    @inner.get("/{name}")
    async def nested(name: str) -> None: ...

    outer.include_router(inner)
    app.include_router(outer)

    @app.get("/headers")
    async def headers() -> dict[str, str]:
        return dict(tracing.calling("call", {}).headers)

    @app.get("/fails")
    async def fails() -> None:
        raise RuntimeError("secret")

    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


async def test_a_silent_collector_delays_the_end_by_seconds_only(silent_server: str) -> None:
    begun = 0.0
    async with svcs.Registry() as registry:
        given: dict[str, Any] = {**ENVIRONMENT, "otel_exporter_otlp_endpoint": silent_server}
        open_tracing(registry, ProcessSettings(**given), service="tested")
        with serving():
            pass
        begun = time.monotonic()
    assert time.monotonic() - begun < 10
    assert tracing.active is None
