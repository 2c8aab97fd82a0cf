"""The profile `observe`: every target is scraped, every rule evaluated, and Zipkin has the right traces."""

from __future__ import annotations

import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

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
SERVICES = {"storage-gateway", "provisioning", "chunk-worker", "usage-meter", "operations"}
REPLAYED = {"annotationQuery": "jettythunder.replayed=true", "limit": "100"}
# One takes events in batches, the other one by one.
REPLAYED_TO = ("usage-meter.events", "provisioning.agentcache-events")
# Names are found every 15 s and scraped every 15 s; a trace is chosen after 10 s.
SEEN_SECONDS = 90
TWO_CHUNKS_BYTES = 12_000_000


@dataclass(frozen=True)
class Zipkin:
    """Its HTTP API."""

    url: str

    def services(self, trace_id: str) -> set[str]:
        """The services in a trace; none where it was not kept."""
        answer = httpx.get(f"{self.url}/api/v2/trace/{trace_id}", trust_env=False)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return set()
        return {span["localEndpoint"]["serviceName"] for span in answer.raise_for_status().json()}

    def traces(self, **query: str) -> list[list[dict[str, Any]]]:
        """The traces that a query finds."""
        answer = httpx.get(f"{self.url}/api/v2/traces", params=query, trust_env=False)
        found: list[list[dict[str, Any]]] = answer.raise_for_status().json()
        return found


class Client:
    """A client that makes an account, and whose calls name the trace that they belong to."""

    def __init__(self, project: Composed) -> None:
        self._project = project
        self._http = httpx.Client(base_url=project.base_url, timeout=60, trust_env=False)
        self._credentials: dict[str, str] = {}

    def sign_up(self, trace_id: str) -> None:
        """Make the account."""
        secret = self._project.environment["AGENTCACHE_WEBHOOK_SECRET"]
        answer = self._http.post(
            "/api/agentcache/provision",
            headers={"Authorization": f"Bearer {secret}", **_in_trace(trace_id)},
            json={"agentcache_user_id": "seen", "agentcache_email": "seen@example.com", "tier": "enterprise"},
        )
        account = answer.raise_for_status().json()["account"]
        self._credentials = {
            "Authorization": f"Bearer {account['api_key']}",
            "X-API-Secret": account["api_secret"],
        }

    def upload(self, trace_id: str) -> httpx.Response:
        """Upload a file of two chunks."""
        return self._http.post(
            "/api/storage/upload",
            headers={**self._credentials, **_in_trace(trace_id)},
            files={"file": ("seen.bin", os.urandom(TWO_CHUNKS_BYTES))},
        )

    def edges(self) -> int:
        """How many edges it may send chunks to."""
        answer = self._http.get("/api/edges", headers=self._credentials)
        return len(answer.raise_for_status().json()["edges"])

    def operate(self, method: str, path: str, trace_id: str, **how: Any) -> Any:
        """A call of the operators' API."""
        token = self._project.environment["JETTYTHUNDER_OPS_TOKEN"]
        answer = httpx.request(
            method,
            f"{self._project.url('OPERATIONS')}/admin/{path}",
            headers={"Authorization": f"Bearer {token}", **_in_trace(trace_id)},
            timeout=60,
            trust_env=False,
            **how,
        )
        return answer.raise_for_status().json()


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
    client, zipkin = Client(project), Zipkin(project.url("ZIPKIN"))
    seen = _new_trace()
    client.sign_up(seen)
    assert client.upload(seen).status_code == httpx.codes.CREATED
    client.operate("GET", "events", seen)
    began = time.monotonic()
    eventually_sync(lambda: zipkin.services(seen) >= SERVICES, timeout_seconds=SEEN_SECONDS, poll_seconds=0.5)
    print(f"one trace has all {len(SERVICES)} services, {_since(began)} after its last call")
    # Two chunk-workers that take chunks of clients too, and the edge that is nothing else.
    assert client.edges() == 3

    replace(project, variables={**project.variables, "TRACES_KEPT_PERCENT": "0"}).up("--no-deps", "collector")
    usual, failed, replay = _new_trace(), _new_trace(), _new_trace()
    assert client.upload(usual).status_code == httpx.codes.CREATED
    publish_sign_ups(project.environment["RABBITMQ_URL"], 1)
    for consumer in REPLAYED_TO:
        client.operate("POST", "replays", replay, json={"to": consumer})
    [storage] = project.names("s3")
    project.stop(storage)
    assert client.upload(failed).status_code == httpx.codes.SERVICE_UNAVAILABLE
    project.start(storage)
    began = time.monotonic()

    def are_kept() -> bool:
        assert "storage-gateway" in zipkin.services(failed)
        replayed = {span["name"] for trace in zipkin.traces(**REPLAYED) for span in trace}
        assert replayed >= {f"process {consumer}" for consumer in REPLAYED_TO}
        return True

    eventually_sync(are_kept, timeout_seconds=SEEN_SECONDS, poll_seconds=0.5)
    print(f"of none but failures and replays, both are kept, {_since(began)} later")
    assert zipkin.services(usual) == set()


def _new_trace() -> str:
    return secrets.token_hex(16)


def _in_trace(trace_id: str) -> dict[str, str]:
    """The header of a call that belongs to a trace which is recorded."""
    return {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"
