"""The world of the gateway, as its own tests have it."""

from collections.abc import AsyncIterator

import pytest_asyncio
from tests.support.gateway import World, opened_world
from tests.support.infrastructure import Infrastructure, Services


@pytest_asyncio.fixture(scope="package")
async def world(infrastructure: Infrastructure, services: Services) -> AsyncIterator[World]:
    async with opened_world(infrastructure, services) as opened:
        yield opened
