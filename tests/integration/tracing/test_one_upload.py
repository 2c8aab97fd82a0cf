"""One upload is one trace, through all services that work on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest_asyncio
from tests.support.gateway import Tenant
from tests.support.infrastructure import Infrastructure
from tests.support.otlp import Collector, Span, running_collector
from tests.support.traced_services import (
    TracedServices,
    WebhookReceiver,
    receiving_webhooks,
    some_file,
    traced_services,
)
from tests.support.waiting import eventually

CHUNKS = 3
FILENAME = "private-name.bin"
UPLOAD = "POST /api/storage/upload"
WAIT_SECONDS = 60


class Uploaded:
    """A stack on which one account has uploaded one file of several chunks, and what was received of it."""

    def __init__(
        self, collector: Collector, services: TracedServices, http: httpx.AsyncClient, tenant: Tenant
    ) -> None:
        self.collector = collector
        self.services = services
        self.http = http
        self.tenant = tenant

    @property
    def spans(self) -> list[Span]:
        """The spans of the upload's trace."""
        return self.collector.trace(self.one(UPLOAD).trace_id)

    def one(self, name: str, service: str | None = None) -> Span:
        """The only span of that name."""
        [span] = [span for span in self.collector.named(name) if service in (None, span.service)]
        return span

    def parent(self, span: Span) -> Span:
        """The span that this one is a part of."""
        [found] = [each for each in self.collector.spans if each.span_id == span.parent_id]
        return found


@pytest_asyncio.fixture(scope="module")
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with receiving_webhooks() as receiving:
        yield receiving


@pytest_asyncio.fixture(scope="module")
async def uploaded(
    own_infrastructure: Infrastructure,
    receiver: WebhookReceiver,
    tmp_path_factory: Any,
) -> AsyncIterator[Uploaded]:
    folder: Path = tmp_path_factory.mktemp("traced")
    with running_collector() as collector:
        given = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "AGENTCACHE_WEBHOOK_URL": receiver.url,
        }
        with traced_services(own_infrastructure, folder, given) as services:
            async with httpx.AsyncClient(timeout=60) as http:
                content = some_file(CHUNKS)
                tenant = await services.provision(http, quota_bytes=len(content) + 2_000_000)
                await eventually(lambda: _booked(collector, 1), timeout_seconds=WAIT_SECONDS)
                answer = await tenant.upload(content, filename=FILENAME)
                assert answer.status_code == 201, answer.text
                found = Uploaded(collector, services, http, tenant)
                await eventually(lambda: _is_complete(collector), timeout_seconds=WAIT_SECONDS)
                yield found


def _is_complete(collector: Collector) -> bool:
    """Whether each service has sent its last span of the upload: a span is sent after those within it."""
    last = {UPLOAD: 1, "process chunk-worker.commands": CHUNKS, "process usage-meter.webhooks": 1}
    return all(len(collector.named(name)) >= count for name, count in last.items())


def _booked(collector: Collector, count: int) -> bool:
    return len(collector.named("process usage-meter.events")) >= count


def test_one_upload_is_one_trace(uploaded: Uploaded) -> None:
    assert {span.service for span in uploaded.spans} == {"storage-gateway", "chunk-worker", "usage-meter"}
    root = uploaded.one(UPLOAD)
    assert (root.kind, root.parent_id) == ("server", "")
    assert root.attributes["jettythunder.account_id"] == str(uploaded.tenant.account_id)
    known = {span.span_id for span in uploaded.spans}
    assert {span.parent_id for span in uploaded.spans} <= known | {""}


def test_a_chunk_is_commanded_fetched_and_stored_in_it(uploaded: Uploaded) -> None:
    stored = [span for span in uploaded.spans if span.name == "process chunk-worker.commands"]
    assert len(stored) == CHUNKS
    numbers = []
    for process in stored:
        command = uploaded.parent(process)
        assert (command.name, command.kind) == ("send jettythunder.commands", "producer")
        assert command.attributes["messaging.message.id"] == process.attributes["messaging.message.id"]
        assert uploaded.parent(command).name == UPLOAD
        parts = [span for span in uploaded.spans if span.parent_id == process.span_id]
        [part] = [span for span in parts if span.name == "S3 UploadPart"]
        [fetch] = [span for span in parts if span.name == "GET chunk"]
        [served] = [span for span in uploaded.spans if span.parent_id == fetch.span_id]
        assert (served.name, served.service) == (
            "GET /internal/chunks/{upload_id}/{number}",
            "storage-gateway",
        )
        assert part.attributes["jettythunder.size_bytes"] == fetch.attributes["jettythunder.size_bytes"]
        numbers.append(part.attributes["aws.s3.part_number"])
        assert "send jettythunder.events" in {span.name for span in parts}
    assert set(numbers) == {1, 2, 3}


def test_the_usage_meter_is_linked(uploaded: Uploaded) -> None:
    batches = [
        span
        for span in uploaded.collector.named("process usage-meter.events")
        if any(trace_id == uploaded.one(UPLOAD).trace_id for trace_id, _ in span.links)
    ]
    sends = {span.span_id for span in uploaded.spans if span.name == "send jettythunder.events"}
    assert {span_id for batch in batches for _, span_id in batch.links} & sends


def test_a_webhook_carries_the_trace(uploaded: Uploaded, receiver: WebhookReceiver) -> None:
    post = uploaded.one("POST webhook")
    assert uploaded.parent(post).name == "process usage-meter.webhooks"
    assert post.trace_id == uploaded.one(UPLOAD).trace_id
    carried = [headers["traceparent"] for headers in receiver.headers]
    assert [each.split("-")[1:3] for each in carried] == [[post.trace_id, post.span_id]]


async def test_a_replay_is_a_trace_of_its_own_with_links(uploaded: Uploaded) -> None:
    [created] = [
        span
        for span in uploaded.spans
        if span.attributes.get("messaging.rabbitmq.destination.routing_key")
        == "jettythunder.upload.completed.v1"
        and span.kind == "producer"
    ]
    before = len(uploaded.collector.named("process usage-meter.events"))
    # A replay delivers what its consumer has not processed.
    connection = await asyncpg.connect(uploaded.services.environment["DATABASE_URL"])
    message_id = UUID(str(created.attributes["messaging.message.id"]))
    await connection.execute("DELETE FROM inbox WHERE event_id = $1", message_id)
    await connection.close()
    wanted = {
        "to": "usage-meter.events",
        "filter": {"types": ["jettythunder.upload.completed.v1"]},
    }
    answer = await uploaded.http.post(
        f"{uploaded.services.operations_url}/admin/replays",
        headers=uploaded.services.operator,
        json=wanted,
    )
    assert answer.status_code == 202, answer.text
    await eventually(lambda: _booked(uploaded.collector, before + 1), timeout_seconds=WAIT_SECONDS)
    replayed = uploaded.collector.named("process usage-meter.events")[before]
    assert (replayed.parent_id, replayed.links) == ("", [(created.trace_id, created.span_id)])
    assert replayed.trace_id != created.trace_id
    assert replayed.attributes["jettythunder.replayed"] is True


def test_spans_hold_no_secrets(uploaded: Uploaded) -> None:
    received = b"".join(uploaded.collector.bodies)
    environment = uploaded.services.environment
    secrets = {
        *(
            value
            for name, value in environment.items()
            if any(part in name for part in ("SECRET", "TOKEN", "KEY"))
        ),
        environment["DATABASE_URL"],
        environment["RABBITMQ_URL"],
        uploaded.tenant.api_key,
        uploaded.tenant.api_secret,
        "X-Amz-",
        "Signature",
        "signature=",
        "Authorization",
        "Bearer ",
        FILENAME,
    }
    assert [secret for secret in secrets if secret and secret.encode() in received] == []
    texts = [
        str(each) for span in uploaded.collector.spans for each in (span.name, *span.attributes.values())
    ]
    assert [text for text in texts if "?" in text] == []
