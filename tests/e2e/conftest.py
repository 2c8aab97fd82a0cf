"""The whole of it, as its users see it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.support.gateway import Backstage, World, opened_world
from tests.support.infrastructure import Infrastructure, Services


@pytest_asyncio.fixture(scope="package")
async def world(infrastructure: Infrastructure, services: Services) -> AsyncIterator[World]:
    async with opened_world(infrastructure, services) as opened:
        yield opened


@pytest.fixture(scope="package")
def backstage(world: World) -> Backstage:
    return world.backstage
