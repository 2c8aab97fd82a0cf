"""The profile `observe`: every target is scraped, every rule evaluated, and Zipkin has the right traces."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from tests.containers.composed import Composed, composed
from tests.observability.prometheus import DEPLOYED, Prometheus
from tests.observability.signing_up import publish_sign_ups
from tests.support.waiting import eventually_sync

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

# Clients decide here what is recorded, so that the calls of one make one trace.
VARIABLES = {
    "COMPOSE_PROFILES": "observe,edge",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318",
    "TRACEPARENT_OF_CLIENTS": "parent",
}
TARGETS = {
    "prometheus": 1,
    "storage-gateway": 2,
    "chunk-worker": 2,
    "edge": 1,
    "provisioning": 1,
    "usage-meter": 1,
    "operations": 1,
    "rabbitmq": 1,
    "rabbitmq-queues": 1,
}
CLIENT = "a-client"
SERVICES = {"storage-gateway", "provisioning", "chunk-worker", "usage-meter", "operations"}
# One takes events in batches, the other one by one.
REPLAYED_TO = ("usage-meter.events", "provisioning.agentcache-events")
# Names are found every 15 s and scraped every 15 s; a trace is chosen after 10 s.
SEEN_SECONDS = 90
TWO_CHUNKS_BYTES = 12_000_000

# The collector's port is not published.
_SEND = """
import sys, urllib.request
head = {"Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request("http://collector:4318/v1/traces", sys.argv[1].encode(), head))
"""


@dataclass(frozen=True)
class Zipkin:
    """Its HTTP API."""

    url: str

    def traces(self, annotation: str) -> list[list[dict[str, Any]]]:
        """The traces with a span that has an attribute, `name=value`."""
        query = {"annotationQuery": annotation, "limit": "100"}
        answer = httpx.get(f"{self.url}/api/v2/traces", params=query, trust_env=False)
        found: list[list[dict[str, Any]]] = answer.raise_for_status().json()
        return found

    def of_call(self, correlation: str) -> list[list[dict[str, Any]]]:
        """The traces of a call, by its correlation id."""
        return self.traces(f"jettythunder.correlation_id={correlation}")


@dataclass
class ClientSpan:
    """What a client that makes traces of its own records of itself."""

    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    span_id: str = field(default_factory=lambda: secrets.token_hex(8))
    began_ns: int = field(default_factory=time.time_ns)

    @property
    def headers(self) -> dict[str, str]:
        """Those of calls that belong to it."""
        return {"traceparent": f"00-{self.trace_id}-{self.span_id}-01"}

    def send(self, project: Composed) -> None:
        """End it and send it to the collector (https://opentelemetry.io/docs/specs/otlp/#otlphttp)."""
        times = {"startTimeUnixNano": str(self.began_ns), "endTimeUnixNano": str(time.time_ns())}
        span = {"traceId": self.trace_id, "spanId": self.span_id, "name": "a client", "kind": 3, **times}
        service = {"key": "service.name", "value": {"stringValue": CLIENT}}
        spans = {"resource": {"attributes": [service]}, "scopeSpans": [{"spans": [span]}]}
        body = json.dumps({"resourceSpans": [spans]})
        project.compose("exec", "-T", "operations", "python", "-c", _SEND, body)


class Client:
    """A client with an account of its own."""

    def __init__(self, project: Composed, headers: Mapping[str, str]) -> None:
        self._project = project
        self._http = httpx.Client(base_url=project.base_url, timeout=60, trust_env=False)
        secret = self._project.environment["AGENTCACHE_WEBHOOK_SECRET"]
        answer = self._http.post(
            "/api/agentcache/provision",
            headers={"Authorization": f"Bearer {secret}", **headers},
            json={"agentcache_user_id": "seen", "agentcache_email": "seen@example.com", "tier": "enterprise"},
        )
        account = answer.raise_for_status().json()["account"]
        self._http.headers = httpx.Headers(
            {"Authorization": f"Bearer {account['api_key']}", "X-API-Secret": account["api_secret"]}
        )

    def upload(self, headers: Mapping[str, str]) -> httpx.Response:
        """Upload a file of two chunks."""
        content = os.urandom(TWO_CHUNKS_BYTES)
        return self._http.post("/api/storage/upload", headers=headers, files={"file": ("seen.bin", content)})

    def edges(self) -> int:
        """How many edges it may send chunks to."""
        return len(self._http.get("/api/edges").raise_for_status().json()["edges"])

    def operate(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, json: object = None
    ) -> None:
        """A call of the operators' API."""
        token = self._project.environment["JETTYTHUNDER_OPS_TOKEN"]
        httpx.request(
            method,
            f"{self._project.url('OPERATIONS')}/admin/{path}",
            headers={"Authorization": f"Bearer {token}", **(headers or {})},
            json=json,
            timeout=60,
            trust_env=False,
        ).raise_for_status()


@pytest.fixture(scope="module")
def project() -> Iterator[Composed]:
    with composed(variables=VARIABLES) as made:
        print(f"\n--profile observe --profile edge up --wait: {made.up():.1f} s")
        yield made


@pytest.fixture(scope="module")
def prometheus(project: Composed) -> Prometheus:
    return Prometheus(project.url("PROMETHEUS"))


def test_every_target_is_up(prometheus: Prometheus) -> None:
    def are_up() -> bool:
        up = Counter(series["metric"]["job"] for series in prometheus.query("up == 1"))
        assert up == TARGETS
        return True

    began = time.monotonic()
    eventually_sync(are_up, timeout_seconds=SEEN_SECONDS, poll_seconds=1)
    print(f"{sum(TARGETS.values())} targets of {len(TARGETS)} jobs are up, {_since(began)} later")


def test_every_rule_is_evaluated(prometheus: Prometheus) -> None:
    files = [yaml.safe_load(path.read_text()) for path in (DEPLOYED / "rules").glob("*.yml")]
    rules = [rule for file in files for group in file["groups"] for rule in group["rules"]]

    def are_evaluated() -> bool:
        assert {rule["name"]: rule["health"] for rule in prometheus.rules() if rule["health"] != "ok"} == {}
        return True

    eventually_sync(are_evaluated, timeout_seconds=SEEN_SECONDS, poll_seconds=1)
    loaded = Counter(rule["name"] for rule in prometheus.rules())
    assert loaded == Counter(rule.get("alert") or rule["record"] for rule in rules)
    alerts = [rule for rule in prometheus.rules() if rule["type"] == "alerting"]
    print(f"{len(alerts)} alerts and {len(rules) - len(alerts)} recording rules are evaluated")
    assert [rule["name"] for rule in alerts if rule["state"] == "firing"] == []


def test_traces_are_chosen_when_they_have_ended(project: Composed) -> None:
    zipkin, span = Zipkin(project.url("ZIPKIN")), ClientSpan()
    client = Client(project, span.headers)
    seen = uuid4().hex
    stored = client.upload({"X-Correlation-ID": seen, **span.headers})
    assert stored.status_code == httpx.codes.CREATED
    client.operate("GET", "events", headers=span.headers)
    span.send(project)
    began = time.monotonic()

    def has_all() -> bool:
        traces = zipkin.of_call(seen)
        services = {span["localEndpoint"]["serviceName"] for trace in traces for span in trace}
        assert services == SERVICES | {CLIENT}
        return True

    eventually_sync(has_all, timeout_seconds=SEEN_SECONDS, poll_seconds=0.5)
    print(f"one trace has all {len(SERVICES)} services, {_since(began)} after its last call")
    # Two chunk-workers that take chunks of clients too, and the edge that is nothing else.
    assert client.edges() == 3

    replace(project, variables={**project.variables, "TRACES_KEPT_PERCENT": "0"}).up("--no-deps", "collector")
    usual, failed = uuid4().hex, uuid4().hex
    assert client.upload({"X-Correlation-ID": usual}).status_code == httpx.codes.CREATED
    publish_sign_ups(project.environment["RABBITMQ_URL"], 1)
    for consumer in REPLAYED_TO:
        client.operate("POST", "replays", json={"to": consumer})
    [storage] = project.names("s3")
    project.stop(storage)
    began = time.monotonic()
    assert client.upload({"X-Correlation-ID": failed}).status_code == httpx.codes.SERVICE_UNAVAILABLE
    print(f"without the object storage an upload fails after {_since(began)}")
    project.start(storage)
    began = time.monotonic()

    def are_kept() -> bool:
        assert zipkin.of_call(failed)
        replayed = {span["name"] for trace in zipkin.traces("jettythunder.replayed=true") for span in trace}
        assert replayed >= {f"process {consumer}" for consumer in REPLAYED_TO}
        return True

    eventually_sync(are_kept, timeout_seconds=SEEN_SECONDS, poll_seconds=0.5)
    print(f"of none but failures and replays, both are kept, {_since(began)} later")
    assert zipkin.of_call(usual) == []


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
