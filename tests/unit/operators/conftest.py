"""A service with an API for operators, in memory."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web


class Service:
    """Answers with what it was given, by method and path; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, web.Response] = {}
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.url = ""

    def answer(self, call: str, value: Any, *, status: int = 200, **headers: str) -> None:
        """Answer a call such as `GET /usage/prices` with JSON."""
        self.answers[call] = web.json_response(value, status=status, headers=headers)

    def answer_lines(self, call: str, *values: Any) -> None:
        """Answer with a JSON object a line."""
        self.answers[call] = web.Response(text="".join(json.dumps(value) + "\n" for value in values))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one request."""
        if request.path == "/healthz":
            return web.Response()
        assert request.headers["Authorization"] == "Bearer secret"
        body = await request.json() if request.can_read_body else None
        self.asked.append((f"{request.method} {request.path}", dict(request.query), body))
        given = self.answers.get(f"{request.method} {request.path_qs}")
        found = given or self.answers[f"{request.method} {request.path}"]
        return web.Response(text=found.text, status=found.status, headers=found.headers)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()
