"""What every service's application has: readiness, limits on bodies, problems, and who the client is."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import httpx
import pytest
import svcs
from fastapi import FastAPI, Request
from pydantic import BaseModel, ConfigDict
from tests.support.virtual_time import run_virtually

from jettythunder import http
from jettythunder.errors import AccountNotFound
from jettythunder.settings import ServiceSettings

ENVIRONMENT = {
    "DATABASE_URL": "postgresql://nobody@localhost/none",
    "RABBITMQ_URL": "amqp://nobody@localhost/",
    "JETTYTHUNDER_OPS_TOKEN": "t" * 32,
}


class Server:
    """Something that a service needs, and how often it was pinged."""

    pings = 0

    async def ping(self) -> None:
        self.pings += 1
        await asyncio.sleep(0.1)


class Search(BaseModel):
    """A body that takes only what it names."""

    model_config = ConfigDict(extra="forbid")

    word: str


class Service:
    """An application whose registry has one server."""

    def __init__(self, **settings: Any) -> None:
        self.server = Server()

        class Settings(ServiceSettings):
            def __init__(self) -> None:
                super().__init__(
                    **{name.lower(): value for name, value in {**ENVIRONMENT, **settings}.items()}
                )

        @svcs.fastapi.lifespan
        async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
            registry.register_value(Server, self.server, ping=Server.ping)
            yield

        self.app = http.create_app(
            "Test", description="", settings=Settings, lifespan=lifespan, internal_paths=("/inside",)
        )

        @self.app.get("/who")
        async def who(request: Request) -> dict[str, str]:
            assert request.client is not None
            return {"client": request.client.host, "scheme": request.url.scheme}

        @self.app.get("/inside/{name}")
        async def inside(name: str) -> None:
            pass

        @self.app.get("/things/{name}")
        @http.raises(AccountNotFound)
        async def thing(name: str) -> dict[str, str]:
            return {"name": name}

        @self.app.delete("/things/{name}")
        async def delete_thing(name: str) -> None: ...

        @self.app.get("/files/{name:path}")
        async def file(name: str) -> None: ...

        @self.app.post("/files/{name:path}/copy")
        async def copy_file(name: str) -> None: ...

        @self.app.post("/things/search")
        async def search(body: Search) -> None: ...

        @self.app.post("/body")
        async def body(body: dict[str, int]) -> dict[str, int]:
            return body

    async def call(self, *calls: tuple[str, str], at_once: bool = False, **how: Any) -> list[httpx.Response]:
        transport = httpx.ASGITransport(self.app, client=("192.0.2.1", 5))
        async with (
            self.app.router.lifespan_context(self.app) as state,
            httpx.AsyncClient(transport=_WithState(transport, state), base_url="http://test") as client,
        ):
            if at_once:
                return await asyncio.gather(*(client.request(*call, **how) for call in calls))
            return [await client.request(*call, **how) for call in calls]


class _WithState(httpx.AsyncBaseTransport):
    """Hands the lifespan's state to requests, as a server does."""

    def __init__(self, transport: httpx.ASGITransport, state: Any) -> None:
        self._transport = transport
        app = transport.app

        async def with_state(scope: Any, receive: Any, send: Any) -> None:
            scope["state"] = dict(state or {})
            await app(scope, receive, send)

        transport.app = with_state

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._transport.handle_async_request(request)


def test_readiness_is_looked_at_once_a_second() -> None:
    async def run() -> None:
        service = Service()
        answers = await service.call(*[("GET", "/readyz")] * 20, at_once=True)
        assert {answer.status_code for answer in answers} == {200}
        assert answers[0].json() == {"status": "ready", "checks": {"server": "ok"}}
        assert service.server.pings == 1

    run_virtually(run())


@pytest.mark.parametrize(("environment", "status"), [("live", 404), ("test", 200)])
async def test_a_live_service_does_not_show_its_description(environment: str, status: int) -> None:
    service = Service(JETTYTHUNDER_ENVIRONMENT=environment)
    answers = await service.call(("GET", "/docs"), ("GET", "/redoc"), ("GET", "/openapi.json"))
    assert [answer.status_code for answer in answers] == [status] * 3


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/files/a/copy", "OPTIONS, POST"),
        ("POST", "/files/a/b", "GET, HEAD, OPTIONS"),
        ("DELETE", "/who", "GET, HEAD, OPTIONS"),
        ("PUT", "/things/one", "DELETE, GET, HEAD, OPTIONS"),
        ("GET", "/things/search", "OPTIONS, POST"),
        ("HEAD", "/things/search", "OPTIONS, POST"),
        ("TRACE", "/body", "OPTIONS, POST"),
        ("BREW", "/healthz", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_method_that_is_not_allowed_is_told_with_all_that_are(
    method: str, path: str, allowed: str
) -> None:
    [answer] = await Service().call((method, path))
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    if method != "HEAD":
        assert answer.headers["content-type"] == "application/problem+json"
        assert (answer.json()["status"], answer.json()["code"]) == (405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/who", "/things/one", "/healthz"])
async def test_head_is_answered_as_get_without_content(path: str) -> None:
    got, headed = await Service().call(("GET", path), ("HEAD", path))
    assert (headed.status_code, headed.content) == (200, b"")
    for name in ("content-type", "content-length", "cache-control"):
        assert headed.headers[name] == got.headers[name]


async def test_options_lists_what_a_resource_takes() -> None:
    answers = await Service().call(
        ("OPTIONS", "/things/one"), ("OPTIONS", "/things/search"), ("OPTIONS", "/nothing")
    )
    assert [(answer.status_code, answer.headers.get("allow")) for answer in answers] == [
        (204, "DELETE, GET, HEAD, OPTIONS"),
        (204, "OPTIONS, POST"),
        (404, None),
    ]


async def test_no_slash_is_added_or_taken_away_by_a_redirect() -> None:
    answers = await Service().call(("GET", "/healthz/"), ("GET", "/who/"), headers={"Host": "evil.example"})
    assert [answer.status_code for answer in answers] == [404, 404]


async def test_each_operation_lists_the_problems_it_may_answer() -> None:
    [answer] = await Service(JETTYTHUNDER_ENVIRONMENT="test").call(("GET", "/openapi.json"))
    document = answer.json()
    listed = {
        f"{method} {path}": {
            status: given["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]["code"]
            for status, given in operation["responses"].items()
            if int(status) >= 400 and path != "/readyz"
        }
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert listed["get /who"] == {"500": {"enum": ["internal_error"]}}
    assert listed["get /things/{name}"]["404"] == {"enum": ["account_not_found", "not_found"]}
    assert set(listed["post /things/search"]) == {"400", "408", "413", "422", "500"}
    assert listed["get /metrics"]["401"] == {"enum": ["unauthenticated"]}
    assert "Problem" in document["components"]["schemas"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"word": "\\ud83d\\ude00"}', 200),
        (b'{"word": "\\\\ud800"}', 200),
        (b'{"word": "\\ud800"}', 400),
        (b'{"word": ["\\ude00\\ud83d"]}', 400),
        (b'{"\\udfff": {}, "word": ""}', 400),
        (b'{"word": "\xed\xa0\x80"}', 400),
    ],
)
async def test_json_whose_text_is_no_unicode_is_refused(body: bytes, status: int) -> None:
    [answer] = await Service().call(
        ("POST", "/things/search"), content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["code"] == "bad_request"


@pytest.mark.parametrize(
    ("proxies", "client", "scheme"),
    [
        ("", "192.0.2.1", "http"),
        ("198.51.100.0/24", "192.0.2.1", "http"),
        ("192.0.2.0/24", "203.0.113.7", "https"),
        ("192.0.2.1,203.0.113.7", "198.51.100.9", "https"),
    ],
)
async def test_a_client_s_address_is_believed_from_trusted_proxies_only(
    proxies: str, client: str, scheme: str
) -> None:
    headers = {"X-Forwarded-For": "198.51.100.9, 203.0.113.7", "X-Forwarded-Proto": "https"}
    [answer] = await Service(TRUSTED_PROXIES=proxies).call(("GET", "/who"), headers=headers)
    assert answer.json() == {"client": client, "scheme": scheme}


def test_a_trusted_proxy_is_an_address_or_a_network() -> None:
    with pytest.raises(SystemExit, match="TRUSTED_PROXIES"):
        Service(TRUSTED_PROXIES="*")


async def test_a_body_over_a_mebibyte_is_refused_everywhere() -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100_000

    async def pieces() -> Any:
        for piece in endless():
            yield piece

    service = Service()
    for content in (b" " * 2_000_000, pieces()):
        [answer] = await service.call(
            ("POST", "/body"), content=content, headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


def test_a_body_must_come_in_time() -> None:
    async def run() -> None:
        async def trickle() -> Any:
            while True:
                yield b" "
                await asyncio.sleep(1)

        [answer] = await Service(HTTP_BODY_SECONDS=20).call(
            ("POST", "/body"), content=trickle(), headers={"Content-Type": "application/json"}
        )
        assert (answer.status_code, answer.json()["code"]) == (408, "upload_timed_out")

    run_virtually(run())


OPS = {"Authorization": f"Bearer {'t' * 32}"}
PUBLIC, INTERNAL = "http://test:3000", "http://test:9000"


@pytest.mark.parametrize(
    ("path", "public", "internal"),
    [
        ("/who", 200, 404),
        ("/inside/a", 404, 200),
        ("/metrics", 404, 200),
        ("/healthz", 200, 200),
        ("/readyz", 200, 200),
        ("/elsewhere", 404, 404),
    ],
)
async def test_internal_paths_have_a_port_of_their_own(path: str, public: int, internal: int) -> None:
    service = Service(INTERNAL_PORT=9000)
    answers = await service.call(("GET", PUBLIC + path), ("GET", INTERNAL + path), headers=OPS)
    assert [answer.status_code for answer in answers] == [public, internal]
    assert all(answer.json()["code"] == "not_found" for answer in answers if answer.status_code == 404)


async def test_without_an_internal_port_everything_is_on_the_first() -> None:
    answers = await Service().call(("GET", "/who"), ("GET", "/inside/a"), ("GET", "/metrics"), headers=OPS)
    assert [answer.status_code for answer in answers] == [200] * 3
