"""The page's calls: signing in, and uploads that go on after whatever happens."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from tests.support.cdn import KEY, SECRET, Cdn, Clock, Gateway, running_cdn
from tests.support.waiting import eventually


class Page:
    """What the page's script does."""

    def __init__(self, cdn: Cdn) -> None:
        self.cdn = cdn
        self.token = ""

    async def call(
        self, method: str, path: str, body: Any = None, **query: Any
    ) -> tuple[int, dict[str, Any]]:
        how = {"data": body} if isinstance(body, bytes) else {"json": body}
        headers = {"Authorization": f"Bearer {self.token}", "Origin": self.cdn.url}
        url = f"{self.cdn.url}/desktop/api/{path}"
        async with self.cdn.http.request(method, url, headers=headers, params=query, **how) as response:
            return response.status, await response.json()

    async def sign_in(self, key: str = KEY, secret: str = SECRET, **other: str) -> int:
        status, answer = await self.call("POST", "session", {"api_key": key, "api_secret": secret, **other})
        self.token = answer.get("token", self.token)
        return status

    async def create(self, path: str, content: bytes) -> dict[str, Any]:
        about = {"path": path, "size_bytes": len(content), "modified_ms": 7}
        status, answer = await self.call("POST", "uploads", about)
        assert status == 201, answer
        return answer

    async def upload(self, upload_id: str) -> dict[str, Any]:
        _, state = await self.call("GET", "state")
        found: dict[str, Any] = next(one for one in state["uploads"] if one["id"] == upload_id)
        return found

    async def reaches(self, upload_id: str, state: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            found = await self.upload(upload_id)
            return found if found["state"] == state else None

        return await eventually(there)


@pytest.fixture
async def page(cdn: Cdn) -> AsyncIterator[Page]:
    opened = Page(cdn)
    assert await opened.sign_in() == 200
    yield opened


async def test_without_a_session_the_page_says_only_whether_somebody_is_signed_in(cdn: Cdn) -> None:
    page = Page(cdn)
    status, state = await page.call("GET", "state")
    assert (status, set(state), state["has_account"]) == (200, {"signed_in", "has_account", "api_url"}, True)
    for method, path in (
        ("POST", "uploads"),
        ("PUT", "uploads/x/content"),
        ("POST", "uploads/x/pause"),
        ("DELETE", "uploads/x"),
        ("DELETE", "session"),
        ("POST", "codes"),
    ):
        status, problem = await page.call(method, path, {})
        assert (status, problem["code"]) == (401, "cdn_token_missing")


async def test_nobody_else_signs_in_on_a_machine_that_is_signed_in(gateway: Gateway, cdn: Cdn) -> None:
    page = Page(cdn)
    assert await page.sign_in(secret="jts_wrong") == 401
    assert await page.sign_in(key="jt_other") == 403
    # Nor is the account led to another gateway.
    assert await page.sign_in(api_url="http://127.0.0.1:9") == 200
    _, state = await page.call("GET", "state")
    assert (state["quota"]["tier"], state["account"]["api_url"]) == ("pro", gateway.url)
    assert SECRET not in str(state)


async def test_signing_in_keeps_the_credentials_in_a_file_of_the_owner(
    gateway: Gateway, cdn: Cdn, tmp_path: Path
) -> None:
    page = Page(cdn)
    assert await page.sign_in() == 200
    assert (await page.call("DELETE", "session"))[0] == 200
    assert not (tmp_path / "config.toml").exists()
    assert (await page.call("GET", "state"))[1]["signed_in"] is False
    assert (await cdn.get("/v1/assets/film")).status == 401
    assert await page.sign_in(api_url=gateway.url + "/api/agentcache") == 200
    assert (tmp_path / "config.toml").stat().st_mode & 0o777 == 0o600
    assert (await page.call("GET", "state"))[1]["account"]["api_url"] == gateway.url


async def test_a_code_of_this_machine_signs_in_once(cdn: Cdn) -> None:
    page = Page(cdn)
    page.token = cdn.token
    code = (await page.call("POST", "codes"))[1]["code"]
    page.token = ""
    status, answer = await page.call("POST", "session", {"code": code})
    assert status == 200
    assert (await page.call("POST", "session", {"code": code}))[0] == 401
    page.token = answer["token"]
    assert (await page.call("GET", "state"))[1]["signed_in"]


async def test_an_upload_is_received_in_pieces_and_is_in_the_cache_then(gateway: Gateway, page: Page) -> None:
    content = bytes(range(256)) * 5000
    upload_id = (await page.create("films/a/b.txt", content))["id"]
    await page.call("PUT", f"uploads/{upload_id}/content", content[:1000], offset=0)
    status, problem = await page.call("PUT", f"uploads/{upload_id}/content", content, offset=0)
    assert (status, problem["code"], problem["received_bytes"]) == (409, "wrong_offset", 1000)
    again = await page.create("films/a/b.txt", content)
    assert (again["id"], again["received_bytes"]) == (upload_id, 1000)
    await page.call("PUT", f"uploads/{upload_id}/content", content[1000:], offset=1000)
    done = await page.reaches(upload_id, "done")
    assert (done["name"], done["folder"], done["route"]) == ("b.txt", "films/a", "standard")
    asset_id = done["asset_id"]
    assert gateway.contents[asset_id].read(0, len(content)) == content
    cache = page.cdn.cache
    await eventually(lambda: cache.store.index.block_count(gateway.etags[asset_id]) == 2)
    answer = await page.cdn.get(f"/v1/assets/{asset_id}")
    assert (answer.body, answer.headers["X-Cache"]) == (content, "HIT")
    assert [path for method, path, _ in gateway.requests if method == "GET" and "stream" in path] == []


async def test_more_bytes_than_the_file_has_are_refused(page: Page) -> None:
    upload_id = (await page.create("a.txt", b"12345"))["id"]
    assert (await page.call("PUT", f"uploads/{upload_id}/content", b"1234567", offset=0))[0] == 400


async def test_uploads_go_on_after_a_restart_and_paused_ones_stay_so(
    gateway: Gateway, clock: Clock, tmp_path: Path
) -> None:
    gateway.gate.clear()
    async with running_cdn(tmp_path, gateway.url, clock=clock) as cdn:
        page = Page(cdn)
        await page.sign_in()
        ids = []
        for name in ("goes-on", "is-paused", "is-partial"):
            ids.append((await page.create(f"{name}.txt", b"12345"))["id"])
            content = b"12" if name == "is-partial" else b"12345"
            await page.call("PUT", f"uploads/{ids[-1]}/content", content, offset=0)
        await page.reaches(ids[0], "sending")
        await page.call("POST", f"uploads/{ids[1]}/pause")
        assert (await page.upload(ids[1]))["state"] == "paused"
    gateway.gate.set()
    async with running_cdn(tmp_path, gateway.url, clock=clock) as cdn:
        page = Page(cdn)
        await page.sign_in()
        await page.reaches(ids[0], "done")
        states = [(await page.upload(upload_id))["state"] for upload_id in ids]
        assert states == ["done", "paused", "receiving"]
        await page.call("POST", f"uploads/{ids[1]}/resume")
        await page.reaches(ids[1], "done")
        await page.call("PUT", f"uploads/{ids[2]}/content", b"345", offset=2)
        await page.reaches(ids[2], "done")
        for upload_id in ids:
            await page.call("DELETE", f"uploads/{upload_id}")
        assert (await page.call("GET", "state"))[1]["uploads"] == []
        assert list((tmp_path / "state" / "cdn" / "uploads").iterdir()) == []


async def test_a_refused_upload_says_why_and_can_be_tried_again(gateway: Gateway, page: Page) -> None:
    gateway.status = 402
    upload_id = (await page.create("a.txt", b"12345"))["id"]
    await page.call("PUT", f"uploads/{upload_id}/content", b"12345", offset=0)
    assert "402" in (await page.reaches(upload_id, "failed"))["detail"]
    gateway.status = None
    await page.call("POST", f"uploads/{upload_id}/resume")
    await page.reaches(upload_id, "done")


async def test_a_file_that_does_not_fit_on_the_disk_is_refused_at_once(page: Page) -> None:
    about = {"path": "a.txt", "size_bytes": 10**18, "modified_ms": 7}
    status, problem = await page.call("POST", "uploads", about)
    assert (status, problem["code"]) == (507, "no_space")


@pytest.mark.parametrize("body", [{}, {"path": "a"}, {"path": "a", "size_bytes": -1}, {"size_bytes": 1}, [1]])
async def test_what_is_no_file_is_refused(page: Page, body: Any) -> None:
    assert (await page.call("POST", "uploads", body))[0] == 400


async def test_the_page_runs_nothing_but_its_own_script(cdn: Cdn) -> None:
    for path, content_type in (
        ("/", "text/html"),
        ("/desktop/app.js", "text/javascript"),
        ("/desktop/style.css", "text/css"),
        ("/desktop/icon.svg", "image/svg+xml"),
    ):
        answer = await cdn.get(path, token=False)
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith(content_type)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
    html = (await cdn.get("/", token=False)).body.decode()
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=|https?://", html)
    assert (await cdn.get("/desktop/secret.js", token=False)).status == 404


def test_the_script_finds_every_element_that_it_names() -> None:
    static = files("jettythunder_cdn.desktop") / "static"
    html, script = static.joinpath("index.html").read_text(), static.joinpath("app.js").read_text()
    named = set(re.findall(r'byId\("([\w-]+)"\)', script))
    assert named <= set(re.findall(r'id="([\w-]+)"', html))
    assert "innerHTML" not in script
