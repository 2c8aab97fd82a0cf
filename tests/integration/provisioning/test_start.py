"""Starting the service, and asking how it is."""

import httpx
from tests.integration.provisioning.conftest import Gateway
from tests.support.infrastructure import RunningService, ServiceStarter

from jettythunder.contracts.accounts import ProvisionAccountV1


async def test_a_master_key_that_does_not_fit_the_accounts_stops_the_service(
    gateway: Gateway, start_service: ServiceStarter, user: str
) -> None:
    await gateway.account(
        ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier="pro")
    )
    refused = start_service("provisioning", {"JETTYTHUNDER_MASTER_KEY": "another key " * 4}, wait=False)
    assert refused.wait_for_end() != 0
    assert "The master key with the id 1 is not the key" in refused.log()


async def test_readiness_asks_every_server(provisioning: RunningService) -> None:
    async with httpx.AsyncClient(base_url=provisioning.url) as client:
        answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"] == {"database": "ok", "storage": "ok", "broker": "ok"}


async def test_metrics_are_for_ops_only(provisioning: RunningService) -> None:
    async with httpx.AsyncClient(base_url=provisioning.url) as client:
        assert (await client.get("/metrics")).status_code == 401
