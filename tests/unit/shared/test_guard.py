"""Guarded routes: the check runs before anything of a body is read or parsed."""

from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from pydantic import BaseModel
from starlette.types import Message

from jettythunder.errors import Unauthenticated
from jettythunder.http.guard import guarded
from jettythunder.http.problems import answer_problems


class Body(BaseModel):
    number: int


async def check(request: Request) -> None:
    """Whoever calls with any authorization is let in."""
    if "authorization" not in request.headers:
        raise Unauthenticated
    request.state.caller = request.headers["authorization"]


def made_app() -> FastAPI:
    app = FastAPI()
    answer_problems(app)
    router = APIRouter(route_class=guarded(check))

    @router.post("/guarded")
    async def take(body: Body, request: Request) -> dict[str, Any]:
        return {"number": body.number, "caller": request.state.caller}

    app.include_router(router)
    return app


class Call:
    """A call with a body that may be read, or not."""

    def __init__(self, body: bytes, *, is_authorized: bool) -> None:
        self._body = body
        self._headers = [(b"content-type", b"application/json")]
        if is_authorized:
            self._headers.append((b"authorization", b"caller"))
        self.reads = 0
        self.answer: list[Message] = []

    async def make(self) -> tuple[int, bytes]:
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/guarded",
            "query_string": b"",
            "headers": self._headers,
            "state": {},
        }
        await made_app()(scope, self._receive, self._send)
        return self.answer[0]["status"], b"".join(message.get("body", b"") for message in self.answer)

    async def _receive(self) -> Message:
        self.reads += 1
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def _send(self, message: Message) -> None:
        self.answer.append(message)


@pytest.mark.parametrize("body", [b'{"number": 1}', b'{"number": "x"}', b"{", b""])
async def test_who_is_not_let_in_has_nothing_read_and_nothing_said_of_the_body(body: bytes) -> None:
    call = Call(body, is_authorized=False)
    status, answer = await call.make()
    assert (status, b'"unauthenticated"' in answer, call.reads) == (401, True, 0)


async def test_who_is_let_in_has_the_body_read_and_is_known_to_the_handler() -> None:
    call = Call(b'{"number": 1}', is_authorized=True)
    assert await call.make() == (200, b'{"number":1,"caller":"caller"}')


async def test_who_is_let_in_learns_what_is_wrong_with_the_body() -> None:
    status, answer = await Call(b'{"number": "x"}', is_authorized=True).make()
    assert (status, b'"invalid_field"' in answer) == (422, True)
