"""The list of edges: our own, AgentCache's, and the object storage itself."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from tests.support.agentcache import AgentCache, running_agentcache
from tests.support.edge_health import running_edge
from tests.support.gateway import Tenant
from tests.support.infrastructure import RunningService, Services, ServiceStarter
from tests.support.waiting import eventually


@pytest_asyncio.fixture
async def agentcache() -> AsyncIterator[AgentCache]:
    async with running_agentcache() as running:
        yield running


def allowed(agentcache: AgentCache) -> dict[str, str]:
    """The settings of a gateway that lists AgentCache's edges."""
    return {"AGENTCACHE_API_URL": agentcache.url, "AGENTCACHE_EDGE_HOSTS": "127.0.0.1"}


async def edges_at(tenant: Tenant, base_url: str) -> dict[str, dict[str, Any]]:
    answer = await tenant.at(base_url).get("/api/edges")
    assert answer.status_code == 200, answer.text
    return {edge["id"]: edge for edge in answer.json()["edges"]}


async def test_every_chunk_worker_is_listed_as_agentcache_lists_edges(
    tenant: Tenant, services: Services
) -> None:
    listed = await edges_at(tenant, services.base_url)
    assert {"edge-1", "edge-2"} <= set(listed)
    edge = listed["edge-1"]
    assert edge == {
        "id": "edge-1",
        "region": "local",
        "url": services.urls["chunk-worker-1"],
        "kind": "worker",
        "max_chunk_bytes": None,
    }


async def test_agentcaches_own_edges_are_merged(
    tenant: Tenant, start_service: ServiceStarter, agentcache: AgentCache
) -> None:
    async with running_edge(max_chunk_bytes=1 << 20) as far:
        entry = {"id": "fra-1", "region": "eu-central", "url": f"{far.url}/"}
        agentcache.listing = [entry]
        # It asks AgentCache as it starts, which this loop serves.
        gateway = await asyncio.to_thread(start_service, "storage-gateway", allowed(agentcache))

        async def listed() -> dict[str, dict[str, Any]] | None:
            found = await edges_at(tenant, gateway.url)
            return found if "agentcache:fra-1" in found else None

        # An answer that came too late is asked for again after a minute.
        found = await eventually(listed, timeout_seconds=120)
        assert found["agentcache:fra-1"] == {
            "id": "agentcache:fra-1",
            "region": "eu-central",
            "url": far.url,
            "kind": "external",
            "max_chunk_bytes": 1 << 20,
        }
        assert "edge-1" in found


async def test_an_agentcache_that_hangs_keeps_nobody_waiting(
    tenant: Tenant, start_service: ServiceStarter, agentcache: AgentCache
) -> None:
    agentcache.hanging = asyncio.Event()
    gateway = start_service("storage-gateway", allowed(agentcache))
    async with asyncio.timeout(30):
        listed = await edges_at(tenant, gateway.url)
        assert "edge-1" in await edges_at(tenant, gateway.url)
    assert {edge["kind"] for edge in listed.values()} == {"worker"}


async def test_the_object_storage_is_an_edge_where_it_is_told_to_be(
    tenant: Tenant, direct_gateway: RunningService, services: Services
) -> None:
    direct = (await edges_at(tenant, direct_gateway.url))["lyve"]
    assert (direct["kind"], direct["url"]) == ("direct", services.environment["LYVE_ENDPOINT"])
    assert "lyve" not in await edges_at(tenant, services.base_url)
