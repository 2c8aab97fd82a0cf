"""The running services, with the doors that ops have to them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest_asyncio
from tests.support.gateway import World, opened_world
from tests.support.infrastructure import Infrastructure, Services

from jettythunder.operations import Operations, open_operations


@pytest_asyncio.fixture(scope="package")
async def world(infrastructure: Infrastructure, services: Services) -> AsyncIterator[World]:
    async with opened_world(infrastructure, services) as opened:
        yield opened


@pytest_asyncio.fixture
async def operations(world: World, infrastructure: Infrastructure) -> AsyncIterator[Operations]:
    async with open_operations(world.backstage.pool, infrastructure.rabbitmq_url) as opened:
        yield opened


@pytest_asyncio.fixture
async def admin(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    """The admin API, as ops."""
    token = services.environment["JETTYTHUNDER_OPS_TOKEN"]
    async with httpx.AsyncClient(
        base_url=f"{services.urls['provisioning']}/admin",
        headers={"Authorization": f"Bearer {token}"},
        timeout=60,
        trust_env=False,
    ) as client:
        yield client
