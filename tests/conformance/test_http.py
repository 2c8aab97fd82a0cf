"""HTTP as RFC 9110 and 9112 have it, at each of the six APIs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import httpx
import pytest
from tests.conformance.apis import APIS, headers_for
from tests.support.infrastructure import Services

# Where a body is announced that the API does not take: no credentials, no such resource, or too large a body.
REFUSED = {
    "tenant": ("POST", "/api/storage/upload", 401),
    "agentcache": ("POST", "/api/agentcache/provision", 413),
    "edge": ("PUT", "/edge/uploads/00000000-0000-0000-0000-000000000000/chunks/1", 401),
    "worker": ("POST", "/api/edges/chunks", 413),
    "usage": ("POST", "/usage/adjustments", 413),
    "admin": ("POST", "/admin/replays", 413),
}
BODY_BYTES = 24_000_000
ANSWER_SECONDS = 60


@pytest.fixture(params=APIS)
def name(request: pytest.FixtureRequest) -> str:
    given: str = request.param
    return given


@pytest.fixture
def http(services: Services, access: Mapping[str, str], name: str) -> Iterator[httpx.Client]:
    """A client with the right credentials."""
    url = services.urls[APIS[name].service]
    with httpx.Client(base_url=url, headers=headers_for(name, access), timeout=60, trust_env=False) as client:
        yield client


def described(http: httpx.Client, name: str, access: Mapping[str, str]) -> Iterator[tuple[str, set[str]]]:
    """Each path of an API with real ids in it, and the methods that the document lists for it."""
    ids = {
        "asset_id": access["ASSET_ID"],
        "upload_id": access["CHUNK_UPLOAD_ID"],
        "account": access["ACCOUNT_ID"],
        "number": "1",
    }
    for path, methods in http.get("/openapi.json").json()["paths"].items():
        if APIS[name].has(path):
            yield re.sub(r"\{(\w+)\}", lambda m: ids.get(m[1], "none"), path), {m.upper() for m in methods}


def test_the_methods_of_each_resource_are_named(
    http: httpx.Client, name: str, access: Mapping[str, str]
) -> None:
    for path, methods in described(http, name, access):
        allowed = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        listed = http.options(path)
        assert (listed.status_code, set(listed.headers["allow"].split(", "))) == (204, allowed), path
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE"} - allowed:
            refused = http.request(method, path)
            assert set(refused.headers["allow"].split(", ")) == allowed, path
            assert refused.headers["content-type"] == "application/problem+json"
            assert (refused.status_code, refused.json()["status"]) == (405, 405), path


def test_head_answers_as_get_without_content(
    http: httpx.Client, name: str, access: Mapping[str, str]
) -> None:
    queries = {
        "/api/storage/download": f"?asset_id={access['ASSET_ID']}",
        "/usage/report": "?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z",
    }
    for path, methods in described(http, name, access):
        if "GET" not in methods:
            continue
        url = path + queries.get(path, "")
        got, headed = http.get(url), http.head(url)
        assert (headed.status_code, headed.content) == (got.status_code, b""), path
        for header in ("content-type", "cache-control", "etag"):
            assert headed.headers.get(header) == got.headers.get(header), path


def test_a_head_of_a_download_counts_no_bandwidth(services: Services, access: Mapping[str, str]) -> None:
    headers = headers_for("tenant", access)
    with httpx.Client(base_url=services.base_url, headers=headers, timeout=60, trust_env=False) as http:

        def hits() -> int:
            found: int = http.get(f"/api/storage/assets/{access['ASSET_ID']}").json()["asset"]["hit_count"]
            return found

        before = hits()
        params = {"asset_id": access["ASSET_ID"], "redirect": "true"}
        answer = http.head("/api/storage/download", params=params)
        assert answer.status_code == 302
        assert urlsplit(answer.headers["location"]).path == f"/api/storage/stream/{access['ASSET_ID']}"
        assert hits() == before


def test_nothing_is_redirected_by_a_slash(http: httpx.Client) -> None:
    for path in ("/healthz/", "/readyz/", "/metrics/"):
        answer = http.get(path, headers={"Host": "evil.example"})
        assert (answer.status_code, answer.headers.get("location")) == (404, None)


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_an_early_refusal_arrives_whole(services: Services, name: str, version: str) -> None:
    """Also where the client sends its whole body before it reads."""
    method, path, status = REFUSED[name]
    address = urlsplit(services.urls[APIS[name].service])
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"{method} {path} {version}\r\nHost: {address.netloc}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\n\r\n"
    )
    async with asyncio.timeout(ANSWER_SECONDS):
        writer.write(head.encode())
        for _ in range(24):
            writer.write(bytes(BODY_BYTES // 24))
            await writer.drain()
        answer = await reader.read()
    writer.close()
    head_of_answer, _, body = answer.partition(b"\r\n\r\n")
    assert int(head_of_answer.split()[1]) == status
    assert json.loads(body)["status"] == status
