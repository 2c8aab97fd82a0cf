"""Provisioning while the object storage is away."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.integration.provisioning.conftest import Gateway, storage_of
from tests.support.infrastructure import Infrastructure, RunningService, ServiceStarter

from jettythunder.broker.rpc import RpcClient
from jettythunder.contracts.accounts import ProvisionAccountV1


@pytest.fixture
def provisioning(own_infrastructure: Infrastructure, tmp_path: Path) -> Iterator[RunningService]:
    starter = ServiceStarter(own_infrastructure, tmp_path)
    yield starter("provisioning")
    starter.end()


@pytest_asyncio.fixture
async def gateway(own_infrastructure: Infrastructure, provisioning: RunningService) -> AsyncIterator[Gateway]:
    rpc = RpcClient(own_infrastructure.rabbitmq_url, name="provisioning tests")
    yield Gateway(rpc)
    await rpc.close()


async def test_a_call_that_failed_is_completed_by_repeating_it(
    own_infrastructure: Infrastructure, gateway: Gateway, user: str
) -> None:
    command = ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier="pro")
    own_infrastructure.stop("s3")
    denied = await gateway.denial(command)
    assert (denied.code, denied.status, denied.retryable) == ("storage_unavailable", 503, True)

    own_infrastructure.start("s3")
    account = await gateway.account(command)
    assert account.created
    storage = storage_of(own_infrastructure.environment)
    await storage.open()
    assert await storage.list_sizes(account.s3_prefix) == {account.s3_prefix: 0}
    await storage.close()
