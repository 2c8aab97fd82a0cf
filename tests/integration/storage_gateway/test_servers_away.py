"""The gateway while a server behind it is away: it says so, loses nothing, and goes on when it is back."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from tests.support.gateway import MEGABYTE, Tenant, World, opened_world, problem
from tests.support.infrastructure import Infrastructure, Kind, RoleName, Services, start_services
from tests.support.waiting import eventually, eventually_sync

from jettythunder_dev.stack import is_ready

LARGE = 12 * MEGABYTE


@pytest.fixture(scope="module")
def own_services(own_infrastructure: Infrastructure) -> Services:
    """Services of this module's own, of little patience."""
    told = {
        "CHUNK_TIMEOUT_SECONDS": "8",
        "CLEANUP_RETRY_SECONDS": "1",
        "HOUSEKEEPING_INTERVAL_SECONDS": "0.5",
        "UPLOAD_LEASE_SECONDS": "8",
    }
    kinds: tuple[Kind, ...] = ("storage-gateway", "provisioning", "usage-meter", "chunk-worker")
    return start_services(own_infrastructure, kinds=kinds, workers=1, environment=told)


@pytest_asyncio.fixture(scope="module")
async def own_world(own_infrastructure: Infrastructure, own_services: Services) -> AsyncIterator[World]:
    async with opened_world(own_infrastructure, own_services) as opened:
        yield opened


@pytest.fixture
def away(own_infrastructure: Infrastructure, own_services: Services) -> Any:
    """Take a server away for the length of a block."""

    @contextlib.asynccontextmanager
    async def taken(role: RoleName) -> AsyncIterator[None]:
        own_infrastructure.kill(role)
        try:
            yield
        finally:
            await asyncio.to_thread(own_infrastructure.start, role)
        # The gateway may be back before those that it sends messages to.
        for url in own_services.urls.values():
            await asyncio.to_thread(eventually_sync, partial(is_ready, url), timeout_seconds=60)

    return taken


async def readiness(world: World) -> tuple[int, list[str]]:
    """The status of /readyz, and the servers that don't answer."""
    answer = await world.http.get(f"{world.base_url}/readyz")
    checks: dict[str, str] = answer.json()["checks"]
    return answer.status_code, [name for name, state in checks.items() if state != "ok"]


async def misses(world: World, *servers: str) -> None:
    """Wait until readiness says so: its answer may be a second old."""

    async def says_so() -> bool:
        assert await readiness(world) == (503, list(servers))
        return True

    await eventually(says_so)


async def ready(world: World) -> None:
    async def answers() -> bool:
        return await readiness(world) == (200, [])

    await eventually(answers, timeout_seconds=60)


async def works(world: World, tenant: Tenant, *assets: dict[str, Any]) -> None:
    """The gateway is ready, nothing but the assets is there, and an upload succeeds."""
    await ready(world)
    await world.backstage.holds_exactly(tenant, *assets)
    asset = await tenant.store(os.urandom(LARGE))
    await world.backstage.holds_exactly(tenant, *assets, asset)


async def test_without_the_broker(own_world: World, away: Any) -> None:
    tenant = await own_world.tenant()
    async with away("rabbitmq"):
        await misses(own_world, "broker")
        large = await tenant.upload(os.urandom(LARGE))
        assert problem(large) == (503, "broker_unavailable")
        assert (large.json()["retryable"], "retry-after" in large.headers) == (True, True)
        small = await tenant.store(os.urandom(1000))
        answer = await own_world.http.post(
            f"{own_world.base_url}/api/agentcache/provision",
            headers={"Authorization": f"Bearer {own_world.environment['AGENTCACHE_WEBHOOK_SECRET']}"},
            json={"agentcache_user_id": "late", "agentcache_email": "late@example.com", "tier": "pro"},
        )
        assert problem(answer) == (503, "provisioning_unavailable")
        assert "safe to repeat" in answer.json()["detail"]
    await works(own_world, tenant, small)


async def test_without_the_object_storage(own_world: World, away: Any) -> None:
    tenant = await own_world.tenant()
    kept = await tenant.store()
    async with away("s3"):
        await misses(own_world, "storage")
        for size in (1000, LARGE):
            assert problem(await tenant.upload(os.urandom(size))) == (503, "storage_unavailable")
        read = await tenant.get(f"/api/storage/stream/{kept['id']}")
        assert problem(read) == (503, "storage_unavailable")
        assert (await tenant.get("/api/storage/assets")).status_code == 200
        gone = await tenant.call("DELETE", f"/api/storage/assets/{kept['id']}")
        assert gone.status_code == 200
    await works(own_world, tenant)
    assert (await own_world.backstage.usage(tenant))["bandwidth_used_bytes"] == 0


async def test_without_the_database(own_world: World, away: Any) -> None:
    tenant = await own_world.tenant()
    async with away("postgres"):
        await misses(own_world, "database")
        assert problem(await tenant.upload(b"x")) == (503, "database_unavailable")
        assert (await own_world.http.get(f"{own_world.base_url}/healthz")).status_code == 200
    await works(own_world, tenant)


async def test_the_database_goes_away_during_an_upload(own_world: World, away: Any) -> None:
    tenant = await own_world.tenant()
    backstage = own_world.backstage
    upload = asyncio.create_task(tenant.upload(os.urandom(60 * MEGABYTE)))
    await eventually(lambda: backstage.open_uploads(tenant))
    async with away("postgres"):
        answer = await upload
        assert (answer.status_code, answer.json()["retryable"]) == (503, True), answer.text
    await works(own_world, tenant)


async def test_without_a_worker_an_upload_is_given_up_in_time(
    own_world: World, own_services: Services
) -> None:
    tenant = await own_world.tenant()
    own_services.stop("chunk-worker-1")
    try:
        answer = await tenant.upload(os.urandom(LARGE))
        assert problem(answer) == (503, "chunk_upload_failed")
    finally:
        own_services.start("chunk-worker-1")
    await works(own_world, tenant)
