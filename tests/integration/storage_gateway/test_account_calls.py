"""AgentCache's calls on accounts that are there: rotate, suspend, resume."""

import os
from typing import Any

import httpx
from tests.integration.storage_gateway.test_sessions import begin
from tests.support.gateway import Tenant, World, problem


async def ask(world: World, call: str, tenant: Tenant, **body: Any) -> httpx.Response:
    answer = await world.http.post(
        f"{world.base_url}/api/agentcache/{call}",
        headers={"Authorization": f"Bearer {world.environment['AGENTCACHE_WEBHOOK_SECRET']}"},
        json={"agentcache_user_id": tenant.user, **body},
    )
    assert answer.status_code == 200, answer.text
    return answer


async def test_a_leaked_pair_is_replaced_at_once(world: World, tenant: Tenant) -> None:
    account = (await ask(world, "rotate", tenant, grace_seconds=0)).json()["account"]
    assert problem(await tenant.get("/api/agentcache/quota")) == (401, "unauthenticated")
    renewed = Tenant(world.http, world.base_url, account)
    assert (await renewed.get("/api/agentcache/quota")).status_code == 200


async def test_revoking_a_pair_ends_what_was_made_with_it(world: World, tenant: Tenant) -> None:
    asset = await tenant.store(os.urandom(1000))
    link = await stream_link(tenant, asset)
    session = await begin(tenant)
    ticket = await session.ticket(1)
    account = (await ask(world, "rotate", tenant, grace_seconds=0)).json()["account"]
    assert problem(await world.http.get(link)) == (403, "link_revoked")
    assert problem(await session.send_with(ticket, 1)) == (403, "link_revoked")
    renewed = Tenant(world.http, world.base_url, account)
    assert (await world.http.get(await stream_link(renewed, asset))).status_code == 200


async def test_a_rotation_with_grace_ends_nothing(world: World, tenant: Tenant) -> None:
    asset = await tenant.store(os.urandom(1000))
    link = await stream_link(tenant, asset)
    session = await begin(tenant)
    ticket = await session.ticket(1)
    await ask(world, "rotate", tenant, grace_seconds=60)
    assert (await world.http.get(link)).status_code == 200
    assert (await session.send_with(ticket, 1)).status_code == 200


async def stream_link(tenant: Tenant, asset: dict[str, Any]) -> str:
    answer = await tenant.get("/api/storage/download", params={"asset_id": asset["id"]})
    link: str = answer.json()["stream_url"]
    return link


async def test_a_suspended_account_does_nothing_until_it_is_resumed(world: World, tenant: Tenant) -> None:
    asset = await tenant.store(os.urandom(1000))
    link = await stream_link(tenant, asset)
    session = await begin(tenant)
    ticket = await session.ticket(1)
    suspended = await ask(world, "suspend", tenant)
    assert suspended.json()["account"]["status"] == "suspended"
    assert "api_secret" not in suspended.json()["account"]
    assert problem(await tenant.get("/api/agentcache/quota")) == (403, "account_suspended")
    assert problem(await world.http.get(link)) == (403, "account_suspended")
    assert problem(await session.send_with(ticket, 1)) == (403, "link_revoked")
    assert (await ask(world, "resume", tenant)).json()["account"]["status"] == "active"
    # What was made before stays ended; the session goes on with new tokens.
    assert problem(await world.http.get(link)) == (403, "link_revoked")
    assert problem(await session.send_with(ticket, 1)) == (403, "link_revoked")
    assert (await world.http.get(await stream_link(tenant, asset))).status_code == 200
    assert (await session.send_with(await session.ticket(1), 1)).status_code == 200
