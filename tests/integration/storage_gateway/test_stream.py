"""Streaming: ranges, validators and signed links, so that video seeks."""

import os
from typing import Any

import pytest
from tests.support.gateway import Backstage, Tenant, World, problem
from tests.support.infrastructure import RunningService
from tests.support.waiting import eventually

SIZE = 100_000
CONTENT = os.urandom(SIZE)


async def stored(tenant: Tenant) -> tuple[dict[str, Any], str]:
    asset = await tenant.store(CONTENT, filename="film.mp4")
    return asset, f"/api/storage/stream/{asset['id']}"


async def test_the_whole_comes_with_all_that_a_player_needs(tenant: Tenant) -> None:
    asset, path = await stored(tenant)
    answer = await tenant.get(path)
    assert (answer.status_code, answer.content) == (200, CONTENT)
    expected = {
        "content-type": "video/mp4",
        "content-length": str(SIZE),
        "accept-ranges": "bytes",
        "etag": f'"{asset["content_hash"]}"',
        "x-content-type-options": "nosniff",
    }
    assert expected.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=100-299", slice(100, 300)),
        ("bytes=99000-", slice(99_000, SIZE)),
        ("bytes=99990-200000", slice(99_990, SIZE)),
        ("bytes=-500", slice(SIZE - 500, SIZE)),
        ("bytes=-200000", slice(0, SIZE)),
    ],
)
async def test_a_range_is_those_bytes(tenant: Tenant, asked: str, part: slice) -> None:
    _, path = await stored(tenant)
    answer = await tenant.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, CONTENT[part])
    assert answer.headers["content-range"] == f"bytes {part.start}-{part.stop - 1}/{SIZE}"


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=9-5", "lines=1-2", "nonsense"])
async def test_what_is_no_single_range_gives_the_whole(tenant: Tenant, asked: str) -> None:
    _, path = await stored(tenant)
    answer = await tenant.get(path, headers={"Range": asked})
    assert (answer.status_code, answer.content) == (200, CONTENT)


@pytest.mark.parametrize("asked", ["bytes=100000-", "bytes=200000-300000", "bytes=-0"])
async def test_a_range_outside_is_refused_with_the_size(tenant: Tenant, asked: str) -> None:
    _, path = await stored(tenant)
    answer = await tenant.get(path, headers={"Range": asked})
    assert problem(answer) == (416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


async def test_a_range_of_this_version_is_sent_and_of_another_becomes_the_whole(tenant: Tenant) -> None:
    asset, path = await stored(tenant)
    etag = f'"{asset["content_hash"]}"'
    modified = (await tenant.call("HEAD", path)).headers["last-modified"]
    statuses = {
        validator: (await tenant.get(path, headers={"Range": "bytes=0-9", "If-Range": validator})).status_code
        for validator in (etag, modified, '"another"', f"W/{etag}", "Thu, 01 Jan 1970 00:00:00 GMT")
    }
    assert list(statuses.values()) == [206, 206, 200, 200, 200]


@pytest.mark.parametrize("validator", ["{}", "W/{}", '"other", {}', "*"])
async def test_known_bytes_are_not_sent_again(tenant: Tenant, validator: str) -> None:
    asset, path = await stored(tenant)
    etag = f'"{asset["content_hash"]}"'
    answer = await tenant.get(path, headers={"If-None-Match": validator.format(etag)})
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)


async def test_head_tells_what_get_would(tenant: Tenant) -> None:
    _, path = await stored(tenant)
    whole = await tenant.call("HEAD", path)
    part = await tenant.call("HEAD", path, headers={"Range": "bytes=0-9"})  # defined for GET only
    assert (whole.status_code, whole.content, whole.headers["content-length"]) == (200, b"", str(SIZE))
    assert (part.status_code, part.content, part.headers["content-length"]) == (200, b"", str(SIZE))


async def test_a_name_that_is_not_ascii_is_a_safe_header(tenant: Tenant) -> None:
    asset = await tenant.store(CONTENT, filename='日本 "x".mp4'.replace('"', "%22"))
    disposition = (await tenant.call("HEAD", f"/api/storage/stream/{asset['id']}")).headers[
        "content-disposition"
    ]
    assert disposition.startswith('inline; filename="')
    assert "filename*=UTF-8''%E6%97%A5%E6%9C%AC" in disposition


async def signed_link(tenant: Tenant, asset: dict[str, Any]) -> str:
    answer = await tenant.get("/api/storage/download", params={"asset_id": asset["id"]})
    link: str = answer.json()["stream_url"]
    return link


async def test_a_signed_link_opens_without_headers_and_seeks(world: World, tenant: Tenant) -> None:
    asset, _ = await stored(tenant)
    answer = await world.http.get(await signed_link(tenant, asset), headers={"Range": "bytes=5-14"})
    assert (answer.status_code, answer.content) == (206, CONTENT[5:15])
    assert answer.headers["ratelimit-limit"] == "10000"


async def test_a_signed_link_is_open_to_pages_of_any_origin(world: World, tenant: Tenant) -> None:
    asset, path = await stored(tenant)
    link, page = await signed_link(tenant, asset), {"Origin": "https://player.example"}
    preflight = await world.http.options(
        link,
        headers={**page, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "range"},
    )
    read = await world.http.get(link, headers={**page, "Range": "bytes=0-9"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, "*")
    assert "range" in preflight.headers["access-control-allow-headers"].lower()
    assert read.headers["access-control-allow-origin"] == "*"
    assert "content-range" in read.headers["access-control-expose-headers"].lower()
    with_credentials = await tenant.get(path, headers=page)
    assert "access-control-allow-origin" not in with_credentials.headers


async def test_a_changed_link_opens_nothing(world: World, tenant: Tenant) -> None:
    asset, _ = await stored(tenant)
    other = await tenant.store()
    link = await signed_link(tenant, asset)
    expiry = link.partition("expires_at=")[2].partition("&")[0]
    changed = [
        link[:-2] + ("AA" if link[-2:] != "AA" else "BB"),
        link.replace(asset["id"], other["id"]),
        link.replace(expiry, str(int(expiry) + 1)),
    ]
    answers = [await world.http.get(url) for url in changed]
    assert [problem(answer) for answer in answers] == [(403, "link_invalid")] * 3


async def test_half_a_link_is_no_link(world: World, tenant: Tenant) -> None:
    asset, _ = await stored(tenant)
    link = await signed_link(tenant, asset)
    assert problem(await world.http.get(link.partition("&signature")[0])) == (401, "unauthenticated")


async def test_an_expired_link_says_so(
    world: World, tenant: Tenant, impatient_gateway: RunningService
) -> None:
    asset, _ = await stored(tenant)
    link = await signed_link(tenant.at(impatient_gateway.url), asset)

    async def expired() -> bool:
        return (await world.http.get(link)).status_code == 403

    await eventually(expired)
    assert problem(await world.http.get(link)) == (403, "link_expired")


async def test_a_link_to_a_deleted_asset_leads_nowhere(
    world: World, tenant: Tenant, backstage: Backstage
) -> None:
    asset, _ = await stored(tenant)
    link = await signed_link(tenant, asset)
    await tenant.call("DELETE", f"/api/storage/assets/{asset['id']}")
    assert problem(await world.http.get(link)) == (404, "asset_not_found")
    await backstage.holds_exactly(tenant)
