"""Methods of resources (RFC 9110, section 9): HEAD wherever GET is answered, OPTIONS, and 405 with Allow."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi.routing import iter_route_contexts
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jettythunder.errors import MethodNotAllowed
from jettythunder.http.problems import problem

_PARAMETER = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True)
class _Route:
    path: re.Pattern[str]
    methods: frozenset[str]
    literal: str


class Methods:
    """Middleware that answers what the method of a request alone decides.

    A resource is what the most specific of the routes to its address name: those with the most literal text.
    Its methods are theirs; a route that declares HEAD or OPTIONS answers it itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._routes: list[_Route] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._routes is None:
            # Routes are added after middleware, and none any more once requests come.
            self._routes = _routes(scope["app"].routes)
        declared = _methods_at(self._routes, scope["path"])
        method = scope["method"]
        if not declared or method in declared:
            await self._app(scope, receive, send)
        elif method == "HEAD" and "GET" in declared:
            await self._app({**scope, "method": "GET"}, receive, _without_content(send))
        elif method == "OPTIONS":
            await Response(status_code=204, headers=_allow(declared))(scope, receive, send)
        else:
            await problem(MethodNotAllowed(headers=_allow(declared)))(scope, receive, send)


def _routes(routes: Sequence[BaseRoute]) -> list[_Route]:
    return [
        _Route(context.path_regex, frozenset(context.methods), _PARAMETER.sub("", context.path_format or ""))
        for context in iter_route_contexts(routes)
        if context.methods
    ]


def _methods_at(routes: Sequence[_Route], path: str) -> set[str]:
    matching = [route for route in routes if route.path.match(path)]
    most = max((len(route.literal) for route in matching), default=0)
    return {method for route in matching if len(route.literal) == most for method in route.methods}


def _allow(declared: set[str]) -> dict[str, str]:
    common = {"OPTIONS", "HEAD"} if "GET" in declared else {"OPTIONS"}
    return {"Allow": ", ".join(sorted(declared | common))}


def _without_content(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
