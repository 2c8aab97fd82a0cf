"""Web pages, other programs and other users of this machine get nothing from the desktop CDN."""

from __future__ import annotations

import json
import logging
import stat

import pytest
from tests.support.cdn import ORIGIN, SECRET, Answer, Bytes, Cdn, Clock, Gateway

from jettythunder_client import AsyncClient, Config
from jettythunder_client.cdn import find_cdn

FILM = Bytes(100_000)
EXPIRES = 1_900_000_300
LINK = f"/api/storage/stream/film?epoch=0&expires_at={EXPIRES}&signature=k1.good"
PATHS = ["/v1/assets/film", "/v1/cache/film", "/stats", "/v1/contents"]


def code(answer: Answer) -> str:
    found: str = json.loads(answer.body)["code"]
    return found


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_token_nothing_is_given(gateway: Gateway, cdn: Cdn, path: str) -> None:
    gateway.add("film", FILM)
    for headers in ({}, {"Authorization": "Bearer x"}, {"Cookie": f"token={cdn.token}"}):
        answer = await cdn.get(path, token=False, **headers)
        assert (answer.status, code(answer)) == (401, "cdn_token_missing")
    assert gateway.requests == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:53777", "localhost"])
@pytest.mark.parametrize("path", [*PATHS, LINK, "/healthz", "/", "/unknown"])
async def test_a_name_that_was_rebound_is_refused_before_anything(
    gateway: Gateway, cdn: Cdn, path: str, host: str
) -> None:
    answer = await cdn.get(path, Host=host, Origin=f"http://{host}")
    assert (answer.status, code(answer)) == (421, "host_refused")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert gateway.requests == []


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost:3000"])
@pytest.mark.parametrize("path", [*PATHS, LINK, "/healthz", "/"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS", "POST"])
async def test_other_origins_are_refused_even_with_the_token(
    gateway: Gateway, cdn: Cdn, path: str, origin: str, method: str
) -> None:
    answer = await cdn.get(path, method=method, Origin=origin)
    assert (answer.status, code(answer)) == (403, "origin_refused")
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert gateway.requests == []


async def test_pages_without_an_origin_are_told_by_sec_fetch_site(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    for path in PATHS:
        answer = await cdn.get(path, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors")
        assert (answer.status, code(answer)) == (403, "origin_refused")
    assert (await cdn.get(LINK, token=False, Sec_Fetch_Site="cross-site")).status == 200


async def test_agentcache_s_pages_read_by_signed_links_alone(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    answer = await cdn.get(LINK, token=False, Origin=ORIGIN, Range="bytes=5-9")
    assert (answer.status, answer.body) == (206, FILM.read(5, 10))
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Origin" in answer.headers["Vary"]
    preflight = await cdn.get(LINK, method="OPTIONS", token=False, Origin=ORIGIN)
    assert preflight.status == 204
    assert "Range" in preflight.headers["Access-Control-Allow-Headers"]
    for path in PATHS:
        assert (await cdn.get(path, Origin=ORIGIN)).status == 403
    assert (await cdn.get("/healthz", token=False, Origin=ORIGIN)).status == 200


async def test_a_link_gives_what_the_gateway_lets_it(gateway: Gateway, cdn: Cdn, clock: Clock) -> None:
    gateway.add("film", FILM)
    for damaged in ("signature=k1.bad", "signature=", "signature=a%26b", "nothing=1"):
        path = f"/api/storage/stream/film?epoch=0&expires_at={EXPIRES}&{damaged}"
        assert (await cdn.get(path, token=False)).status == 403
    assert (await cdn.get(LINK, token=False)).status == 200
    sent = [headers for method, _, headers in gateway.requests if method == "GET"]
    assert all("Authorization" not in headers and "X-API-Secret" not in headers for headers in sent)
    # Another asset is not in the link, nor another time.
    assert (await cdn.get(LINK.replace("/film", "/other"), token=False)).status in (403, 404)
    gateway.is_down = True
    assert (await cdn.get(LINK, token=False)).status == 200
    clock.now = EXPIRES + 1.0
    answer = await cdn.get(LINK, token=False)
    assert (answer.status, code(answer)) == (403, "link_expired")


@pytest.mark.parametrize(
    "path", ["/v1/assets/..%2F..%2Fetc%2Fpasswd", "/v1/assets/a%00b", "/v1/assets/http:%2F%2Fevil.example"]
)
async def test_only_ids_are_asked_for_and_only_of_the_gateway(gateway: Gateway, cdn: Cdn, path: str) -> None:
    assert (await cdn.get(path)).status == 404
    assert gateway.requests == []


async def test_an_asset_is_never_run_as_a_page_of_this_origin(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    answer = await cdn.get("/v1/assets/film")
    assert answer.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_nothing_secret_is_logged(gateway: Gateway, cdn: Cdn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gateway.is_down = True
    await cdn.get("/v1/assets/film")
    await cdn.get(LINK)
    for secret in (SECRET, cdn.token, "k1.good"):
        assert secret not in caplog.text


async def test_the_library_sends_its_token_only_to_this_account_s_cdn(gateway: Gateway, cdn: Cdn) -> None:
    state_dir = cdn.settings.state_dir.parent

    async def found(config: Config) -> bool:
        return await find_cdn(cdn.http, config) is not None

    mine = Config(gateway.url, "jt_test_a", SECRET, state_dir=state_dir, cdn_url=cdn.url)
    other = Config(gateway.url, "jt_test_b", SECRET, state_dir=state_dir, cdn_url=cdn.url)
    # A program that listens on the port, and is no desktop CDN.
    squatted = Config(gateway.url, "jt_test_a", SECRET, state_dir=state_dir, cdn_url=gateway.url)
    off = Config(gateway.url, "jt_test_a", SECRET, state_dir=state_dir)
    assert [await found(config) for config in (mine, other, squatted, off)] == [True, False, False, False]
    assert all(cdn.token not in str(headers) for _, _, headers in gateway.requests)
    assert AsyncClient(mine).config.cdn_url == cdn.url


async def test_the_folders_are_closed_to_others(cdn: Cdn) -> None:
    for folder in (cdn.settings.folder, cdn.settings.state_dir, cdn.settings.folder / "blocks"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
