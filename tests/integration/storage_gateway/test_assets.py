"""Listing, naming and deleting assets."""

from typing import Any
from uuid import uuid4

import pytest
from tests.support.gateway import Backstage, Tenant, problem
from tests.support.infrastructure import RunningService
from tests.support.waiting import eventually

ASSETS = "/api/storage/assets"
PIPELINE = "6a1df4a7-1be8-4d10-8a7a-6d2f2a3d9f10"


async def listed(tenant: Tenant, **params: Any) -> list[str]:
    """The ids of all pages."""
    found: list[str] = []
    while True:
        page = (await tenant.get(ASSETS, params=params)).json()
        found += [asset["id"] for asset in page["assets"]]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def test_pages_hold_every_asset_once_the_newest_first(tenant: Tenant) -> None:
    stored = [(await tenant.store())["id"] for _ in range(7)]
    for limit in (1, 3, 7, 50):
        assert await listed(tenant, limit=limit) == stored[::-1]


async def test_a_cursor_stays_right_while_assets_come_and_go(tenant: Tenant) -> None:
    stored = [(await tenant.store())["id"] for _ in range(5)]
    first = (await tenant.get(ASSETS, params={"limit": 2})).json()
    await tenant.store()
    await tenant.call("DELETE", f"{ASSETS}/{first['assets'][-1]['id']}")
    rest = await listed(tenant, limit=2, cursor=first["next_cursor"])
    assert rest == stored[2::-1]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"prefix": "film"}, {"film-1", "film-2"}),
        ({"prefix": "fil%"}, set()),
        ({"cache_key": "b"}, {"film-2"}),
        ({"pipeline_id": PIPELINE}, {"film-1", "text"}),
        ({"prefix": "film", "pipeline_id": PIPELINE}, {"film-1"}),
        ({"pipeline_id": str(uuid4())}, set()),
        ({}, {"film-1", "film-2", "text"}),
    ],
)
async def test_filters(tenant: Tenant, params: dict[str, str], expected: set[str]) -> None:
    await tenant.store(filename="film-1", cache_key="a", pipeline_id=PIPELINE)
    await tenant.store(filename="film-2", cache_key="b")
    await tenant.store(filename="text", pipeline_id=PIPELINE)
    answer = (await tenant.get(ASSETS, params=params)).json()
    assert {asset["filename"] for asset in answer["assets"]} == expected


@pytest.mark.parametrize(
    "params",
    [
        {"cursor": "nonsense"},
        {"cursor": "e30"},
        {"limit": "0"},
        {"limit": "1001"},
        {"pipeline_id": "7"},
        {"prefix": "a\x00"},
        {"cache_key": "a\x00"},
    ],
)
async def test_a_bad_parameter_is_refused(tenant: Tenant, params: dict[str, str]) -> None:
    assert problem(await tenant.get(ASSETS, params=params)) == (422, "invalid_field")


@pytest.mark.parametrize("params", [{"key": "a\x00"}, {"cache_key": "a\x00"}])
async def test_a_name_no_asset_can_have_is_not_found(tenant: Tenant, params: dict[str, str]) -> None:
    status, _ = problem(await tenant.get("/api/storage/download", params=params))
    assert status in (404, 422)


async def test_renaming_changes_the_name_and_nothing_else(tenant: Tenant, backstage: Backstage) -> None:
    asset = await tenant.store(filename="old.txt")
    answer = await tenant.call("PATCH", f"{ASSETS}/{asset['id']}", json={"filename": "../new.txt"})
    renamed = answer.json()["asset"]
    assert renamed == {**{k: v for k, v in asset.items() if k != "deduplicated"}, "filename": "new.txt"}
    await backstage.holds_exactly(tenant, asset)


async def test_a_copy_is_the_same_asset_under_another_cache_key(tenant: Tenant, backstage: Backstage) -> None:
    asset = await tenant.store(cache_key="a")
    copied = (await tenant.call("POST", f"{ASSETS}/{asset['id']}/copy", json={"cache_key": "b"})).json()[
        "asset"
    ]
    assert (copied["id"], copied["cache_key"]) == (asset["id"], "b")
    assert await listed(tenant, cache_key="a") == await listed(tenant, cache_key="b") == [asset["id"]]
    await backstage.holds_exactly(tenant, asset)


async def test_a_copy_needs_a_cache_key(tenant: Tenant) -> None:
    asset = await tenant.store()
    answer = await tenant.call("POST", f"{ASSETS}/{asset['id']}/copy", json={})
    assert problem(answer) == (422, "invalid_field")


async def test_a_deleted_asset_is_gone_and_credited(tenant: Tenant, backstage: Backstage) -> None:
    kept, gone = await tenant.store(), await tenant.store(cache_key="k")
    path = f"{ASSETS}/{gone['id']}"
    assert (await tenant.call("DELETE", path)).json() == {"success": True, "deleted": [gone["id"]]}
    assert problem(await tenant.call("DELETE", path)) == (404, "asset_not_found")
    assert problem(await tenant.get(path)) == (404, "asset_not_found")
    found = await tenant.get("/api/storage/download", params={"cache_key": "k"})
    assert problem(found) == (404, "asset_not_found")
    await backstage.holds_exactly(tenant, kept)


async def test_bulk_delete_tells_what_was_there(tenant: Tenant, backstage: Backstage) -> None:
    stored = [(await tenant.store())["id"] for _ in range(3)]
    unknown = str(uuid4())
    answer = await tenant.call(
        "POST", f"{ASSETS}/bulk-delete", json={"asset_ids": [stored[0], unknown, stored[1], stored[0]]}
    )
    assert set(answer.json()["deleted"]) == set(stored[:2])
    assert answer.json()["not_found"] == [unknown]
    left = (await tenant.get(ASSETS)).json()["assets"]
    assert [asset["id"] for asset in left] == stored[2:]
    await backstage.holds_exactly(tenant, *left)


@pytest.mark.parametrize("ids", [[], ["x"], [str(uuid4())] * 1001])
async def test_a_bad_bulk_delete_is_refused(tenant: Tenant, ids: list[str]) -> None:
    answer = await tenant.call("POST", f"{ASSETS}/bulk-delete", json={"asset_ids": ids})
    assert problem(answer) == (422, "invalid_field")


async def test_an_expired_asset_vanishes_and_is_credited(
    tenant: Tenant, backstage: Backstage, impatient_gateway: RunningService
) -> None:
    kept = await tenant.store(ttl_seconds="3600")
    expiring = await tenant.store(ttl_seconds="1", cache_key="k")

    async def gone() -> bool:
        answers = [
            await tenant.get(f"{ASSETS}/{expiring['id']}"),
            await tenant.get(f"/api/storage/stream/{expiring['id']}"),
            await tenant.get("/api/storage/download", params={"cache_key": "k"}),
        ]
        return [answer.status_code for answer in answers] == [404, 404, 404]

    await eventually(gone)
    await backstage.holds_exactly(tenant, kept)
