"""Usage computed anew from the event log, beside the ledger."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.support.infrastructure import Infrastructure, RunningService
from tests.support.usage_cli import UsageCli

from jettythunder.contracts.accounts import AccountProvisionedV1
from jettythunder.contracts.uploads import UploadCompletedV1

from .conftest import Tenant, Wire


@pytest.fixture
async def worked(tenant: Tenant) -> Tenant:
    """An account that the log has from its beginning: it has 5,000 bytes and sent 10,000."""
    provisioned = AccountProvisionedV1(
        account_id=tenant.id,
        agentcache_user_id=f"user-{tenant.id}",
        tier="pro",
        storage_quota_gb=20,
        bandwidth_quota_gb=50,
        jetty_speed_enabled=True,
    )
    await tenant.processed(
        await tenant.wire.publish(provisioned),
        await tenant.store(5_000),
        await tenant.store(3_000),
        await tenant.delete(3_000),
        await tenant.send_bytes(10_000),
    )
    return tenant


async def rebuilt(ops: httpx.AsyncClient, tenant: Tenant) -> dict[str, Any]:
    answer = await ops.get("/usage/rebuilt", params={"account": str(tenant.id)})
    assert answer.status_code == 200, answer.text
    (account,) = answer.json()["accounts"]
    found: dict[str, Any] = account
    return found


async def change_ledger(tenant: Tenant, size_bytes: int) -> None:
    """Falsify an entry, which the database refuses to everybody who does not own the table."""
    async with tenant.pool.acquire() as connection, connection.transaction():
        await connection.execute("ALTER TABLE usage_ledger DISABLE TRIGGER usage_ledger_append_only")
        await connection.execute(
            "UPDATE usage_ledger SET used_delta_bytes = used_delta_bytes + $2"
            " WHERE account_id = $1 AND used_delta_bytes = 3000",
            tenant.id,
            size_bytes,
        )
        await connection.execute("ALTER TABLE usage_ledger ENABLE TRIGGER usage_ledger_append_only")


async def test_what_the_log_says_is_what_the_ledger_says(ops: httpx.AsyncClient, worked: Tenant) -> None:
    account = await rebuilt(ops, worked)
    assert account["is_comparable"]
    assert (account["log_storage_bytes"], account["ledger_storage_bytes"]) == (5_000, 5_000)
    assert [(month["log_bytes"], month["ledger_bytes"]) for month in account["months"]] == [(10_000, 10_000)]


async def test_what_is_no_event_is_passed_over(ops: httpx.AsyncClient, worked: Tenant, wire: Wire) -> None:
    message_id = str(uuid4())
    body = b'{"specversion": "1.0", "id": "%s", "source": "/x", "type": "%s", "data": {"account_id": "%s"}}'
    given = (message_id, UploadCompletedV1.TYPE, str(worked.id))
    await wire.send(body % tuple(map(str.encode, given)), UploadCompletedV1.TYPE, message_id)
    await wire.dead_letter(message_id)
    assert (await rebuilt(ops, worked))["log_storage_bytes"] == 5_000


async def test_a_ledger_that_says_otherwise_is_found(ops: httpx.AsyncClient, worked: Tenant) -> None:
    await change_ledger(worked, 7)
    account = await rebuilt(ops, worked)
    assert account["ledger_storage_bytes"] - account["log_storage_bytes"] == 7


async def test_an_adjustment_is_no_difference(ops: httpx.AsyncClient, worked: Tenant) -> None:
    wanted = {"resource": "storage", "bytes": 77, "reason": "a test", "author": "ops"}
    await ops.post("/usage/adjustments", json={"account": str(worked.id), **wanted})
    account = await rebuilt(ops, worked)
    assert (account["ledger_storage_bytes"], account["adjusted_bytes"]) == (5_000, 77)


async def test_an_account_that_the_log_has_no_beginning_of_is_not_compared(
    ops: httpx.AsyncClient, tenant: Tenant
) -> None:
    await tenant.processed(await tenant.store(5_000))
    assert not (await rebuilt(ops, tenant))["is_comparable"]


@pytest.mark.parametrize("reachable", [True, False])
async def test_the_command_computes_the_same_with_and_without_the_service(
    worked: Tenant, servers: Infrastructure, meter: RunningService, reachable: bool
) -> None:
    await change_ledger(worked, 7)
    url = meter.url if reachable else "http://127.0.0.1:9"
    cli = UsageCli({**servers.environment, "JETTYTHUNDER_USAGE_METER_URL": url})
    found = await cli("rebuild", "--account", str(worked.id), "--json")
    assert found.code == 2, found.errors
    (account,) = found.json["accounts"]
    assert account["ledger_storage_bytes"] - account["log_storage_bytes"] == 7
    assert ("can't be reached" in found.errors) is not reachable
