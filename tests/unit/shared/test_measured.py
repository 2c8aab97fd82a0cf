"""What is counted of requests: by the calls that a service declares, and no others."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from prometheus_client import REGISTRY
from starlette.types import ASGIApp, Receive, Scope, Send

from jettythunder.http.measured import Measured
from jettythunder.http.sending import EXTENSION, file_sender


@pytest.fixture
def app() -> FastAPI:
    inner, outer = APIRouter(prefix="/measured"), APIRouter()

    @inner.post("/{name}")
    async def post(name: str, request: Request) -> dict[str, str]:
        await request.body()
        return {"name": name}

    @inner.get("/slow")
    async def slow() -> StreamingResponse:
        await asyncio.sleep(0.06)

        async def body() -> AsyncIterator[bytes]:
            yield b"1234"
            yield b"5678"

        return StreamingResponse(body())

    @inner.get("/busy")
    async def busy() -> JSONResponse:
        return JSONResponse({}, 503)

    @inner.get("/broken")
    async def broken() -> None:
        raise LookupError

    @inner.get("/breaks-off")
    async def breaks_off() -> StreamingResponse:
        async def body() -> AsyncIterator[bytes]:
            yield b"1234"
            raise LookupError

        return StreamingResponse(body())

    outer.include_router(inner)
    app = FastAPI()
    app.include_router(outer, prefix="/outer")
    app.add_middleware(Measured)
    return app


def requests(method: str, path: str, outcome: str) -> float | None:
    labels = {"method": method, "path": path, "outcome": outcome}
    return REGISTRY.get_sample_value("jettythunder_http_requests_total", labels)


async def call(app: ASGIApp, method: str, path: str, content: bytes | None = None) -> int:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        return (await http.request(method, path, content=content)).status_code


async def test_calls_are_named_by_their_templates_and_begin_at_zero(app: FastAPI) -> None:
    path = "/outer/measured/{name}"
    await call(app, "POST", "/outer/measured/one", b"123")
    await call(app, "POST", "/outer/measured/two", b"4567")
    assert requests("POST", path, "answered") == 2
    assert (requests("POST", path, "refused"), requests("POST", path, "failed")) == (0, 0)
    assert requests("GET", "/outer/measured/broken", "failed") == 0
    received = {"method": "POST", "path": path}
    assert REGISTRY.get_sample_value("jettythunder_http_received_bytes_total", received) == 7


async def test_what_no_route_takes_makes_no_labels(app: FastAPI) -> None:
    before = requests("other", "other", "refused") or 0
    await call(app, "GET", "/outer/nowhere")
    await call(app, "BREW", "/outer/measured/one")
    assert (requests("other", "other", "refused") or 0) - before == 2
    assert requests("BREW", "/outer/measured/{name}", "refused") is None


@pytest.mark.parametrize(
    "path", ["/outer/measured/busy", "/outer/measured/broken", "/outer/measured/breaks-off"]
)
async def test_what_is_not_answered_in_full_has_failed(app: FastAPI, path: str) -> None:
    before = requests("GET", path, "failed") or 0
    await call(app, "GET", path)
    assert requests("GET", path, "failed") == before + 1
    assert not requests("GET", path, "answered")
    timed = REGISTRY.get_sample_value(
        "jettythunder_http_request_seconds_count", {"method": "GET", "path": path}
    )
    assert timed == 0


async def test_what_the_kernel_sends_of_a_file_is_counted(app: FastAPI) -> None:
    class FileAnswer(Response):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            send_file = file_sender(scope)
            assert send_file is not None
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send_file(0, 0, 100)
            await send({"type": "http.response.body", "body": b""})

    @app.get("/measured-file")
    async def file() -> FileAnswer:
        return FileAnswer()

    async def kernel(file: int, offset: int, count: int) -> int:
        return count - 1

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "extensions": {EXTENSION: kernel}}, receive, send)

    assert await call(served, "GET", "/measured-file") == 200
    labels = {"method": "GET", "path": "/measured-file"}
    assert REGISTRY.get_sample_value("jettythunder_http_sent_bytes_total", labels) == 99


async def test_the_time_is_until_the_answer_begins(app: FastAPI) -> None:
    await call(app, "GET", "/outer/measured/slow")
    labels = {"method": "GET", "path": "/outer/measured/slow"}
    assert (REGISTRY.get_sample_value("jettythunder_http_request_seconds_sum", labels) or 0) >= 0.05
    assert REGISTRY.get_sample_value("jettythunder_http_sent_bytes_total", labels) == 8
