"""What ops sees: one correlation id from the request to the worker, no secrets, doors for health and docs."""

import json
import os
from typing import Any
from uuid import uuid4

from tests.support.event_log import logged_events
from tests.support.gateway import MEGABYTE, Tenant, World, problem
from tests.support.infrastructure import Infrastructure, Services
from tests.support.waiting import eventually

SERVICES = ("storage-gateway", "provisioning", "usage-meter", "chunk-worker-1", "chunk-worker-2")


def lines(services: Services, name: str, **values: str) -> list[dict[str, Any]]:
    """The log lines of a service that have these values."""
    found: list[dict[str, Any]] = []
    for line in services.log(name).splitlines():
        if all(value in line for value in values.values()):
            logged: dict[str, Any] = json.loads(line)
            found += [logged] if values.items() <= logged.items() else []
    return found


async def test_one_correlation_id_leads_from_the_request_to_the_worker(
    services: Services, infrastructure: Infrastructure, tenant: Tenant
) -> None:
    correlation = f"test-{uuid4().hex}"
    answer = await tenant.upload(os.urandom(12 * MEGABYTE), headers={"X-Correlation-ID": correlation})
    assert answer.headers["x-correlation-id"] == correlation
    upload_id = answer.json()["upload_id"]

    def stored() -> bool:
        # The process manager writes a service's lines to its log a moment after the service has.
        found = [
            (line["upload_id"], line["number"])
            for name in ("chunk-worker-1", "chunk-worker-2")
            for line in lines(services, name, correlation_id=correlation, event="chunk stored")
        ]
        return sorted(found) == [(upload_id, 1), (upload_id, 2)]

    await eventually(stored, timeout_seconds=30)

    async def told() -> bool:
        events = await logged_events(infrastructure.rabbitmq_url)
        assert sorted(event.type for event in events if event.correlationid == correlation) == [
            "jettythunder.asset.stored.v1",
            "jettythunder.chunk.uploaded.v1",
            "jettythunder.chunk.uploaded.v1",
            "jettythunder.upload.completed.v1",
            "jettythunder.upload.created.v1",
        ]
        return True

    await eventually(told, timeout_seconds=60, poll_seconds=0.5)


async def test_a_correlation_id_that_is_no_plain_id_is_replaced(world: World) -> None:
    answer = await world.http.get(f"{world.base_url}/healthz", headers={"X-Correlation-ID": "a b; c"})
    assert answer.headers["x-correlation-id"].isalnum()


async def test_an_error_tells_its_correlation_id(tenant: Tenant) -> None:
    answer = await tenant.get(f"/api/storage/assets/{uuid4()}", headers={"X-Correlation-ID": "abc-1"})
    assert answer.json()["correlation_id"] == "abc-1"


async def test_no_log_holds_a_secret(world: World, services: Services, tenant: Tenant) -> None:
    asset = await tenant.store(os.urandom(12 * MEGABYTE))
    links = (await tenant.get("/api/storage/download", params={"asset_id": asset["id"]})).json()
    await world.http.get(links["stream_url"])
    await world.http.get(links["stream_url"][:-3] + "xxx")
    await tenant.get("/api/agentcache/quota", headers={"X-API-Secret": tenant.api_secret + "x"})
    await tenant.post_form(b"nothing")

    def told() -> bool:
        workers = ("chunk-worker-1", "chunk-worker-2")
        return any(lines(services, name, upload_id=asset["id"], event="chunk stored") for name in workers)

    await eventually(told)
    written = {name: services.log(name) for name in SERVICES}
    secrets = [
        tenant.api_secret,
        tenant.api_key,
        links["stream_url"].partition("signature=")[2],
        "X-Amz-Signature",
        *(
            world.environment[name]
            for name in (
                "AGENTCACHE_WEBHOOK_SECRET",
                "JETTYTHUNDER_MASTER_KEY",
                "JETTYTHUNDER_SIGNING_KEYS",
                "JETTYTHUNDER_INTERNAL_KEY",
                "JETTYTHUNDER_OPS_TOKEN",
                "LYVE_SECRET_ACCESS_KEY",
            )
        ),
    ]
    assert [(n, s) for n, text in written.items() for s in secrets if s in text] == []


async def test_health_and_docs_are_open_and_metrics_are_not(world: World) -> None:
    paths = ("/healthz", "/readyz", "/docs", "/openapi.json", "/metrics")
    answers = {path: await world.http.get(world.base_url + path) for path in paths}
    statuses = [answer.status_code for answer in answers.values()]
    assert statuses == [200, 200, 200, 200, 401]
    assert answers["/readyz"].json()["checks"] == {"database": "ok", "broker": "ok", "storage": "ok"}
    ops = {"Authorization": f"Bearer {world.environment['JETTYTHUNDER_OPS_TOKEN']}"}
    assert (await world.http.get(f"{world.base_url}/metrics", headers=ops)).status_code == 200


async def test_no_call_is_missing_from_the_api_s_description(world: World) -> None:
    paths = (await world.http.get(f"{world.base_url}/openapi.json")).json()["paths"]
    assert {
        "/api/agentcache/provision",
        "/api/agentcache/upgrade",
        "/api/agentcache/quota",
        "/api/storage/upload",
        "/api/storage/download",
        "/api/storage/stream/{asset_id}",
        "/api/storage/assets",
        "/api/storage/assets/{asset_id}",
        "/api/storage/assets/bulk-delete",
    } <= set(paths)
    assert not [path for path in paths if path.startswith("/internal")]


async def test_an_unknown_path_is_a_problem_too(world: World) -> None:
    assert problem(await world.http.get(f"{world.base_url}/api/nothing")) == (404, "not_found")


async def test_a_rotation_is_a_security_event_where_it_is_asked_for_and_where_it_happens(
    world: World, services: Services, infrastructure: Infrastructure, tenant: Tenant
) -> None:
    correlation = f"test-{uuid4().hex}"
    secret = infrastructure.environment["AGENTCACHE_WEBHOOK_SECRET"]
    answer = await world.http.post(
        f"{world.base_url}/api/agentcache/rotate",
        json={"agentcache_user_id": tenant.user},
        headers={"Authorization": f"Bearer {secret}", "X-Correlation-ID": correlation},
    )
    assert answer.status_code == 200, answer.text

    def written() -> bool:
        found = [
            line
            for name in ("storage-gateway", "provisioning")
            for line in lines(services, name, correlation_id=correlation, event="credentials_rotated")
        ]
        assert [(line["service"], line["security"]) for line in found] == [
            ("storage-gateway", True),
            ("provisioning", True),
        ]
        assert {line["account_id"] for line in found} == {str(tenant.account_id)}
        assert len({line["key_id"] for line in found}) == 1
        assert (found[0]["caller"], found[0]["address"]) == ("agentcache", "127.0.0.1")
        return True

    await eventually(written, timeout_seconds=30)
