"""Requests go through the proxies of the environment, and addresses may be of IPv6."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from tests.support.gateway_in_memory import Gateway
from tests.support.proxy import Proxy
from yarl import URL

from jettythunder_client import AsyncClient, ClientError, Config
from jettythunder_client.config import base_url
from jettythunder_client.errors import InvalidConfiguration
from jettythunder_client.proxies import Proxies

NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


def proxy_of(url: str, **found: str) -> str | None:
    chosen = Proxies(found).proxy_for(URL(url))
    return None if chosen is None else str(chosen[0])


@pytest.mark.parametrize(
    ("url", "found", "expected"),
    [
        ("http://a.example/", {"http": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://a.example/", {"http": "http://proxy:3128"}, None),
        ("https://a.example/", {"all": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://a.example/", {"all": "http://no", "https": "proxy:80"}, "http://proxy"),
        ("http://a.example/", {"http": "http://[::1]:3128"}, "http://[::1]:3128"),
        ("http://a.example/", {"http": "https://proxy:3129"}, "https://proxy:3129"),
        ("http://a.example/", {}, None),
    ],
)
def test_the_proxy_is_chosen_by_scheme(url: str, found: dict[str, str], expected: str | None) -> None:
    assert proxy_of(url, **found) == expected


@pytest.mark.parametrize(
    ("host", "exempt", "direct"),
    [
        ("a.example", "*", True),
        ("a.example", "a.example", True),
        ("b.a.example", "a.example", True),
        ("b.a.example", ".a.example", True),
        ("ba.example", "a.example", False),
        ("A.Example", "other, a.example", True),
        ("a.example", "other a.example", True),
        ("a.example:8080", "a.example:8080", True),
        ("a.example:8081", "a.example:8080", False),
        ("10.1.2.3", "10.0.0.0/8", True),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.30", "10.1.2.3", False),
        ("[fd00::5]", "fd00::/8", True),
        ("[::1]:8080", "::1", True),
        ("[::1]:8080", "[::1]:8080", True),
        ("[::1]:8080", "[::1]:9090", False),
        ("[0:0::1]", "::1", True),
        ("a.example", "10.0.0.0/8,/,:,[", False),
    ],
)
def test_what_needs_no_proxy_is_as_for_curl(host: str, exempt: str, direct: bool) -> None:
    assert (proxy_of(f"http://{host}/", http="http://proxy:1", no=exempt) is None) is direct


@pytest.mark.parametrize("given", ["socks5://user:hush@proxy:1080", "http://", "http://user:hush@proxy:x"])
def test_a_proxy_that_can_t_be_used_is_named_without_its_password(given: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"can't be used") as refused:
        proxy_of("http://a.example/", all=given)
    assert "hush" not in refused.value.detail


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.fixture
async def proxy(gateway: Gateway, no_proxies: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    port = urlsplit(gateway.url).port
    assert port is not None
    async with Proxy(("127.0.0.1", port), credentials="user:p%ss") as running:
        gateway.url = "http://gateway.example"
        yield running


def config_of(gateway: Gateway, folder: Path) -> Config:
    return Config(gateway.url, "jt_test_a", "jts_a", state_dir=folder, retry_seconds=1)


async def test_every_request_goes_through_the_proxy(
    gateway: Gateway, proxy: Proxy, no_proxies: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_proxies.setenv("http_proxy", f"http://user:p%25ss@127.0.0.1:{proxy.port}")
    file = tmp_path / "film.mp4"
    file.write_bytes(b"film" * 100_000)
    async with AsyncClient(config_of(gateway, tmp_path)) as client:
        stored = await client.upload(file)
        await client.api.fetch_asset(stored.asset["id"])
        await client.download(asset_id=stored.asset["id"], target=tmp_path / "back.mp4")
    assert (tmp_path / "back.mp4").read_bytes() == file.read_bytes()
    assert {asked.split()[1] for asked in proxy.asked} == {"gateway.example"}
    assert len(proxy.asked) == len(gateway.requests)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_refuses_is_told_without_its_password(
    gateway: Gateway, proxy: Proxy, no_proxies: pytest.MonkeyPatch, tmp_path: Path, scheme: str
) -> None:
    no_proxies.setenv("ALL_PROXY", f"http://user:hush@127.0.0.1:{proxy.port}")
    config = replace(config_of(gateway, tmp_path), api_url=f"{scheme}://gateway.example")
    async with AsyncClient(config) as client:
        with pytest.raises(ClientError) as refused:
            await client.api.fetch_quota()
    assert refused.value.code == "proxy_refused"
    assert "hush" not in repr(refused.value) + str(refused.value.__cause__)
    port = ":443" if scheme == "https" else ""
    assert [asked.split()[1] for asked in proxy.asked] == [f"gateway.example{port}"]


async def test_an_exempt_host_is_asked_directly(
    gateway: Gateway, no_proxies: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_proxies.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    no_proxies.setenv("NO_PROXY", "127.0.0.0/8")
    gateway.add("film.mp4")
    async with AsyncClient(config_of(gateway, tmp_path)) as client:
        assert [asset["filename"] async for asset in client.api.assets()] == ["film.mp4"]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6")
async def test_addresses_of_ipv6_are_taken(no_proxies: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gateway = Gateway()
    runner = await gateway.start(host="::1")
    assert gateway.url.startswith("http://[::1]:")
    file = tmp_path / "film.mp4"
    file.write_bytes(b"film")
    async with AsyncClient(config_of(gateway, tmp_path)) as client:
        stored = await client.upload(file)
        await client.download(asset_id=stored.asset["id"], target=tmp_path / "back.mp4")
    assert (tmp_path / "back.mp4").read_bytes() == b"film"
    await runner.cleanup()


async def test_of_several_addresses_one_that_answers_is_taken(
    gateway: Gateway, no_proxies: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The name has addresses of both families, and the gateway listens on one of them.
    addresses = await asyncio.get_running_loop().getaddrinfo("localhost", 80, type=socket.SOCK_STREAM)
    config = replace(config_of(gateway, tmp_path), api_url=gateway.url.replace("127.0.0.1", "localhost"))
    async with AsyncClient(config) as client:
        assert [asset async for asset in client.api.assets()] == []
    assert addresses


@pytest.mark.parametrize("url", ["http://[::1", "http://[nonsense]:80", "http://host:port", "http://"])
def test_a_malformed_address_is_refused_in_a_sentence(url: str) -> None:
    with pytest.raises(InvalidConfiguration):
        base_url(url)


def test_no_netrc_is_read(no_proxies: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from jettythunder_client.connections import open_http

    async def trusted() -> bool:
        async with open_http(max_connections=1) as http:
            assert isinstance(http, aiohttp.ClientSession)
            return http.trust_env

    assert asyncio.run(trusted()) is False
