"""Equal bytes are stored once per account, and never across accounts."""

import asyncio
import os
from uuid import UUID

import pytest
from tests.support.gateway import MEGABYTE, Backstage, Tenant, World


@pytest.mark.parametrize("size", [1000, 12 * MEGABYTE])
async def test_the_same_bytes_again_are_the_same_asset(
    tenant: Tenant, backstage: Backstage, size: int
) -> None:
    content = os.urandom(size)
    first = await tenant.upload(content, filename="first.bin")
    again = await tenant.upload(content, filename="second.bin")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["asset"] == first.json()["asset"] | {"deduplicated": True}
    await backstage.holds_exactly(tenant, first.json()["asset"])


async def test_the_same_bytes_under_two_cache_keys_are_found_by_both(
    tenant: Tenant, backstage: Backstage
) -> None:
    content = os.urandom(1000)
    first = await tenant.store(content, cache_key="one")
    second = await tenant.store(content, cache_key="two")
    assert (first["id"], first["cache_key"], second["cache_key"]) == (second["id"], "one", "two")
    for key in ("one", "two"):
        found = (await tenant.get("/api/storage/download", params={"cache_key": key})).json()["asset"]
        assert (found["id"], found["cache_key"]) == (first["id"], key)
    await backstage.holds_exactly(tenant, first)


async def test_a_cache_key_names_the_newest_upload(tenant: Tenant) -> None:
    await tenant.store(cache_key="k")
    newest = await tenant.store(cache_key="k")
    found = (await tenant.get("/api/storage/download", params={"cache_key": "k"})).json()["asset"]
    assert found["id"] == newest["id"]


@pytest.mark.parametrize("size", [1000, 12 * MEGABYTE])
async def test_the_same_bytes_at_once_become_one_asset(
    tenant: Tenant, backstage: Backstage, size: int
) -> None:
    content = os.urandom(size)
    answers = await asyncio.gather(*(tenant.upload(content) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [201]
    assets = {answer.json()["asset"]["id"]: answer.json()["asset"] for answer in answers}
    assert len(assets) == 1
    await backstage.holds_exactly(tenant, *assets.values())


async def test_two_accounts_store_the_same_bytes_separately(
    world: World, tenant: Tenant, backstage: Backstage
) -> None:
    other = await world.tenant()
    content = os.urandom(1000)
    answers = [await one.upload(content) for one in (tenant, other)]
    assert [answer.status_code for answer in answers] == [201, 201]
    mine, theirs = (answer.json()["asset"] for answer in answers)
    assert mine["s3_key"] != theirs["s3_key"]
    await backstage.holds_exactly(tenant, mine)
    await backstage.holds_exactly(other, theirs)


async def test_deleted_bytes_are_stored_anew(tenant: Tenant, backstage: Backstage) -> None:
    content = os.urandom(1000)
    first = await tenant.store(content)
    await tenant.call("DELETE", f"/api/storage/assets/{first['id']}")
    again = await tenant.upload(content)
    assert again.status_code == 201
    await backstage.holds_exactly(tenant, again.json()["asset"])


async def test_the_later_of_two_expiries_holds(tenant: Tenant) -> None:
    content = os.urandom(1000)
    first = await tenant.store(content, ttl_seconds="100")
    longer = await tenant.store(content, ttl_seconds="1000")
    shorter = await tenant.store(content, ttl_seconds="10")
    for_ever = await tenant.store(content)
    assert {asset["id"] for asset in (first, longer, shorter, for_ever)} == {first["id"]}
    assert longer["expires_at"] > first["expires_at"]
    assert shorter["expires_at"] == longer["expires_at"]
    assert for_ever["expires_at"] is None
    found = (await tenant.get(f"/api/storage/assets/{first['id']}")).json()["asset"]
    assert found["expires_at"] is None


async def test_an_expired_asset_serves_no_upload(tenant: Tenant, backstage: Backstage) -> None:
    content = os.urandom(1000)
    expired = await tenant.store(content)
    await backstage.pool.execute(
        "UPDATE agentcache_assets SET expires_at = now() - interval '1 second' WHERE id = $1",
        UUID(expired["id"]),
    )
    again = await tenant.upload(content)
    assert again.status_code == 201
    assert again.json()["asset"]["id"] != expired["id"]
    await backstage.holds_exactly(tenant, again.json()["asset"])
