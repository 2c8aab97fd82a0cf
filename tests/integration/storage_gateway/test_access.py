"""Who gets in, and what one tenant sees of another: nothing."""

from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.support.gateway import Tenant, World, problem

ASSET = "/api/storage/assets/{id}"
TENANT_DOORS: list[tuple[str, str, Any]] = [
    ("GET", "/api/agentcache/quota", None),
    ("POST", "/api/storage/upload", None),
    ("GET", "/api/storage/download?asset_id={id}", None),
    ("GET", "/api/storage/stream/{id}", None),
    ("GET", "/api/storage/assets", None),
    ("GET", ASSET, None),
    ("PATCH", ASSET, {"filename": "x"}),
    ("POST", ASSET + "/copy", {"cache_key": "x"}),
    ("DELETE", ASSET, None),
    ("POST", "/api/storage/assets/bulk-delete", {"asset_ids": [str(uuid4())]}),
]
ASSET_DOORS = [
    ("GET", "/api/storage/download?asset_id={id}", None),
    ("GET", "/api/storage/download?key={s3_key}", None),
    ("GET", "/api/storage/download?cache_key=mine", None),
    ("GET", "/api/storage/stream/{id}", None),
    ("HEAD", "/api/storage/stream/{id}", None),
    ("GET", ASSET, None),
    ("PATCH", ASSET, {"filename": "x"}),
    ("PATCH", ASSET, {"cache_key": "x"}),
    ("POST", ASSET + "/copy", {"cache_key": "x"}),
    ("DELETE", ASSET, None),
]


@pytest.mark.parametrize(("method", "path", "body"), TENANT_DOORS)
async def test_a_door_stays_shut_without_the_right_pair(
    world: World, tenant: Tenant, method: str, path: str, body: Any
) -> None:
    stranger = await world.tenant()
    url = world.base_url + path.format(id=uuid4())
    wrong: list[dict[str, str]] = [
        {},
        {"Authorization": tenant.headers["Authorization"]},
        {"X-API-Secret": tenant.api_secret},
        tenant.headers | {"X-API-Secret": tenant.api_secret[:-1]},
        tenant.headers | {"X-API-Secret": stranger.api_secret},
        tenant.headers | {"Authorization": "Bearer jt_test_unknown"},
        tenant.headers | {"Authorization": f"Basic {tenant.api_key}"},
        tenant.headers | {"X-API-Secret": "s" * 5000},
    ]
    for headers in wrong:
        answer = await world.http.request(method, url, headers=headers, json=body)
        assert problem(answer) == (401, "unauthenticated"), headers
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("door", ["provision", "upgrade"])
@pytest.mark.parametrize("token", [None, "wrong", "tenant"])
async def test_agentcache_s_doors_take_its_secret_only(
    world: World, tenant: Tenant, door: str, token: str | None
) -> None:
    given = {"tenant": tenant.api_key}.get(token or "", token)
    headers = {} if given is None else {"Authorization": f"Bearer {given}"}
    answer = await world.http.post(
        f"{world.base_url}/api/agentcache/{door}",
        headers=headers,
        json={"agentcache_user_id": "x", "tier": "pro"},
    )
    assert problem(answer) == (401, "unauthenticated")


@pytest.mark.parametrize(("method", "path", "body"), ASSET_DOORS)
async def test_another_tenant_s_asset_is_not_there(
    world: World, tenant: Tenant, method: str, path: str, body: Any
) -> None:
    asset = await tenant.store(cache_key="mine")
    stranger = await world.tenant()
    answer = await stranger.call(method, path.format(**asset), json=body)
    if method == "HEAD":
        assert answer.status_code == 404
    else:
        assert problem(answer) == (404, "asset_not_found")
        unknown = await stranger.call(method, path.format(id=uuid4(), s3_key="none"), json=body)
        assert same_but_for_the_id(unknown) == same_but_for_the_id(answer)
    kept = (await tenant.get(f"/api/storage/assets/{asset['id']}")).json()["asset"]
    assert (kept["filename"], kept["size_bytes"]) == (asset["filename"], asset["size_bytes"])


def same_but_for_the_id(answer: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    return body | {"correlation_id": None}


async def test_another_tenant_s_assets_are_not_deleted_in_bulk(world: World, tenant: Tenant) -> None:
    asset = await tenant.store()
    stranger = await world.tenant()
    answer = await stranger.call("POST", "/api/storage/assets/bulk-delete", json={"asset_ids": [asset["id"]]})
    assert answer.json() == {"success": True, "deleted": [], "not_found": [asset["id"]]}
    assert (await tenant.get(f"/api/storage/assets/{asset['id']}")).status_code == 200


async def test_a_listing_shows_one_s_own_assets_only(world: World, tenant: Tenant) -> None:
    await tenant.store()
    stranger = await world.tenant()
    assert (await stranger.get("/api/storage/assets")).json()["assets"] == []


async def test_the_spool_opens_to_signed_urls_only(world: World) -> None:
    url = f"{world.base_url}/internal/chunks/{uuid4()}/1?expires_at=4102444800&signature=AAAA"
    assert problem(await world.http.get(url)) == (403, "link_invalid")
