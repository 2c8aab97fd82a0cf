"""Services of this folder's own: its tests change prices, settle dead letters and suspend accounts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.conformance.apis import EDGE_SECRET, credentials
from tests.support.infrastructure import IdleServers, Services, start_services


@pytest.fixture(scope="package")
def services(idle_servers: IdleServers) -> Iterator[Services]:
    """The five services, which refuse nobody for calling too often."""
    with idle_servers.borrowed() as infrastructure:
        told = {"RATE_LIMIT_MAX_REQUESTS": "1000000000", "EDGE_SECRETS": EDGE_SECRET}
        yield start_services(infrastructure, workers=1, environment=told)


@pytest.fixture(scope="module")
def access(services: Services) -> dict[str, str]:
    """Credentials for all calls, those of a tenant for an account of the module's own."""
    return credentials(services)
