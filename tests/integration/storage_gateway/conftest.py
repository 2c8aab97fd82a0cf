"""Tenants of the running gateway, and gateways with settings of their own."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from tests.support.gateway import Backstage, Tenant, World, opened_world
from tests.support.infrastructure import Infrastructure, RunningService, Services, ServiceStarter


@pytest_asyncio.fixture(scope="package")
async def world(infrastructure: Infrastructure, services: Services) -> AsyncIterator[World]:
    async with opened_world(infrastructure, services) as opened:
        yield opened


@pytest.fixture(scope="package")
def backstage(world: World) -> Backstage:
    return world.backstage


@pytest_asyncio.fixture
async def tenant(world: World) -> Tenant:
    """A fresh account of the largest tier."""
    return await world.tenant()


@pytest.fixture(scope="package")
def impatient_gateway(
    infrastructure: Infrastructure, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A second gateway: small chunks, a spool for three of them, short patience, busy housekeeping."""
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("gateway"))
    yield starter(
        "storage-gateway",
        {
            "JETTYSPEED_CHUNK_SIZE_MB": "6",
            "SPOOL_BUDGET_BYTES": "20000000",
            "RECEIVE_TIMEOUT_SECONDS": "2",
            "HOUSEKEEPING_INTERVAL_SECONDS": "0.2",
            "RATE_LIMIT_MAX_REQUESTS": "20",
            "DOWNLOAD_LINK_SECONDS": "1",
            "TRUSTED_PROXIES": "127.0.0.1",
        },
    )
    starter.end()


@pytest.fixture(scope="package")
def direct_gateway(
    infrastructure: Infrastructure, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """A gateway that lets clients send chunks straight to the object storage."""
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("direct"))
    yield starter("storage-gateway", {"JETTYSPEED_DIRECT": "true"})
    starter.end()
