"""The running services, as operators reach them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from tests.support.gateway import World, opened_world
from tests.support.infrastructure import Infrastructure, Services

from jettythunder.database import Database
from operations.assembly import Operations, open_operations


@pytest_asyncio.fixture(scope="package")
async def world(infrastructure: Infrastructure, services: Services) -> AsyncIterator[World]:
    async with opened_world(infrastructure, services) as opened:
        yield opened


@pytest_asyncio.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[Database]:
    """The database, as its owner."""
    opened = Database(infrastructure.database_url, name="test")
    await opened.open()
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def operations(infrastructure: Infrastructure) -> AsyncIterator[Operations]:
    """The use-cases, directly on the servers."""
    async with open_operations(infrastructure.database_url, infrastructure.broker) as opened:
        yield opened


@pytest_asyncio.fixture
async def admin(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """The admin API, as operators."""
    async with operators_client(services, "operations", "/admin") as client:
        yield client


@pytest_asyncio.fixture
async def meter(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """The usage-meter's API, as operators."""
    async with operators_client(services, "usage-meter", "/usage") as client:
        yield client


def operators_client(services: Services, service: str, path: str) -> httpx.AsyncClient:
    """A client of a service's API for operators."""
    token = services.environment["JETTYTHUNDER_OPS_TOKEN"]
    return httpx.AsyncClient(
        base_url=f"{services.urls[service]}{path}",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    )
