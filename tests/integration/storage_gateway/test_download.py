"""Download links, and bandwidth counted to the byte."""

import asyncio
import os
from collections import Counter
from typing import Any

import pytest
from tests.support.gateway import MEGABYTE, Backstage, Tenant, World, problem
from tests.support.waiting import eventually

DOWNLOAD = "/api/storage/download"


async def bandwidth_is(backstage: Backstage, tenant: Tenant, used_bytes: int) -> None:
    """Wait until just this is used, nothing is held, and the ledger says the same."""

    async def counted() -> bool:
        usage = await backstage.usage(tenant)
        assert (usage["bandwidth_used_bytes"], usage["bandwidth_reserved_bytes"]) == (used_bytes, 0)
        booked = await backstage.pool.fetchval(
            "SELECT sum(used_delta_bytes) FROM usage_ledger WHERE account_id = $1 AND resource = 'bandwidth'",
            tenant.account_id,
        )
        assert (booked or 0) == used_bytes
        return True

    await eventually(counted, timeout_seconds=60)


@pytest.mark.parametrize("by", ["asset_id", "key", "cache_key"])
async def test_a_link_gives_the_bytes_under_the_file_s_name(world: World, tenant: Tenant, by: str) -> None:
    content = os.urandom(5000)
    asset = await tenant.store(content, filename="Bericht ü.pdf", cache_key="k")
    value = {"asset_id": asset["id"], "key": asset["s3_key"], "cache_key": "k"}[by]
    answer = (await tenant.get(DOWNLOAD, params={by: value})).json()
    assert (answer["success"], answer["asset"]["id"]) == (True, asset["id"])
    got = await world.http.get(answer["url"])
    assert got.content == content
    assert got.headers["content-type"] == "application/pdf"
    assert got.headers["content-disposition"].startswith("attachment; filename=")


async def test_a_metered_link_counts_what_is_sent_each_time(
    world: World, tenant: Tenant, backstage: Backstage
) -> None:
    content = os.urandom(5000)
    asset = await tenant.store(content)
    answer = (await tenant.get(DOWNLOAD, params={"asset_id": asset["id"], "metered": "true"})).json()
    assert answer["url"] == answer["stream_url"]
    for _ in range(3):
        assert (await world.http.get(answer["url"])).content == content
    await bandwidth_is(backstage, tenant, 15_000)


async def test_redirect_goes_there(world: World, tenant: Tenant) -> None:
    content = os.urandom(5000)
    asset = await tenant.store(content)
    answer = await tenant.get(DOWNLOAD, params={"asset_id": asset["id"], "redirect": "true"})
    assert answer.status_code == 302
    assert (await world.http.get(answer.headers["location"])).content == content


async def test_a_large_asset_comes_back_whole_by_link(world: World, tenant: Tenant) -> None:
    content = os.urandom(25 * MEGABYTE)
    asset = await tenant.store(content)
    answer = (await tenant.get(DOWNLOAD, params={"asset_id": asset["id"]})).json()
    assert (await world.http.get(answer["url"])).content == content


@pytest.mark.parametrize("params", [{}, {"asset_id": "6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10", "key": "x"}])
async def test_one_asset_is_asked_for_in_one_way(tenant: Tenant, params: dict[str, str]) -> None:
    assert problem(await tenant.get(DOWNLOAD, params=params)) == (422, "invalid_field")


async def test_a_download_counts_as_a_hit(tenant: Tenant) -> None:
    asset = await tenant.store()
    for _ in range(2):
        await tenant.get(DOWNLOAD, params={"asset_id": asset["id"]})
    seen = (await tenant.get(f"/api/storage/assets/{asset['id']}")).json()["asset"]
    assert seen["hit_count"] == 2
    assert seen["last_accessed"] is not None


async def test_bandwidth_is_counted_to_the_byte(tenant: Tenant, backstage: Backstage) -> None:
    asset = await tenant.store(os.urandom(5000))
    path = f"/api/storage/stream/{asset['id']}"
    await tenant.get(DOWNLOAD, params={"asset_id": asset["id"]})
    await tenant.get(path)
    await tenant.get(path, headers={"Range": "bytes=10-19"})
    await tenant.call("HEAD", path)
    await tenant.get(path, headers={"If-None-Match": f'"{asset["content_hash"]}"'})
    await tenant.get(path, headers={"Range": "bytes=9999-"})
    await bandwidth_is(backstage, tenant, 5000 + 5000 + 10)
    quota: dict[str, Any] = (await tenant.get("/api/agentcache/quota")).json()
    assert quota["bandwidth"]["used_bytes"] == 10_010


async def test_a_player_that_hangs_up_is_billed_for_what_was_sent(
    world: World, tenant: Tenant, backstage: Backstage
) -> None:
    size = 40 * MEGABYTE
    asset = await tenant.store(os.urandom(size))
    read = 0
    url = f"{tenant.base_url}/api/storage/stream/{asset['id']}"
    async with world.http.stream("GET", url, headers=tenant.headers) as answer:
        async for block in answer.aiter_raw():
            read += len(block)
            if read > MEGABYTE:
                break

    async def settled() -> int:
        usage = await backstage.usage(tenant)
        return usage["bandwidth_reserved_bytes"] == 0 and usage["bandwidth_used_bytes"]

    used = await eventually(settled, timeout_seconds=60)
    assert read <= used < size
    event = await backstage.pool.fetchval(
        "SELECT used_delta_bytes FROM usage_ledger"
        " WHERE account_id = $1 AND kind = 'settled' AND resource = 'bandwidth'",
        tenant.account_id,
    )
    assert event == used


async def test_a_used_up_bandwidth_refuses_without_sending(tenant: Tenant, backstage: Backstage) -> None:
    asset = await tenant.store(os.urandom(1000))
    await backstage.set_quota(tenant, bandwidth_quota_bytes=20_000)
    path = f"/api/storage/stream/{asset['id']}"
    answers = await asyncio.gather(*(tenant.get(path) for _ in range(30)))
    # A reservation is held until its stream is settled, so exactly the quota's worth is let through.
    assert Counter(answer.status_code for answer in answers) == {200: 20, 402: 10}
    assert {problem(a)[1] for a in answers if a.status_code == 402} == {"bandwidth_quota_exceeded"}
    await bandwidth_is(backstage, tenant, 20_000)
    assert problem(await tenant.get(DOWNLOAD, params={"asset_id": asset["id"]})) == (
        402,
        "bandwidth_quota_exceeded",
    )
