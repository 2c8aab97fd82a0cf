"""Provisioning while the object storage is away."""

from collections.abc import Mapping
from uuid import uuid4

import pytest
from tests.integration.provisioning.conftest import Doorkeeper, Gateway

from jettythunder.contracts.accounts import ProvisionAccountV1
from jettythunder.database import Pool
from jettythunder.errors import StorageUnavailable
from jettythunder.settings import StorageSettings
from jettythunder.storage import Storage
from provisioning.domain import Delivery
from provisioning.repository import Repository
from provisioning.service import Provisioning

# Port 1 (tcpmux) is served nowhere: connections are refused at once.
NOWHERE = "http://127.0.0.1:1"


async def test_a_call_that_failed_is_completed_by_repeating_it(
    environment: Mapping[str, str],
    pool: Pool,
    gateway: Gateway,
    storage: Storage,
    storage_settings: StorageSettings,
    doorkeeper: Doorkeeper,
    user: str,
) -> None:
    unreachable = Storage(storage_settings.model_copy(update={"lyve_endpoint": NOWHERE}))
    await unreachable.open()
    cut_off = Provisioning(
        pool,
        Repository(),
        unreachable,
        master_key=environment["JETTYTHUNDER_MASTER_KEY"],
        environment=environment.get("JETTYTHUNDER_ENVIRONMENT", "live"),
    )
    delivery = Delivery(consumer="storage-down", event_id=uuid4())
    with pytest.raises(StorageUnavailable):
        await cut_off.provision(delivery, user_ref=user, email="test@example.com", tier="pro")
    await unreachable.close()

    account = await gateway.account(
        ProvisionAccountV1(agentcache_user_id=user, agentcache_email="test@example.com", tier="pro")
    )
    assert account.created
    assert await storage.size_of(account.s3_prefix) == 0
    assert await doorkeeper.lets_in(account)
