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
_NAME_OF_GROUP = re.compile(r"\(\?P<\w+>")


@dataclass(frozen=True)
class _Route:
    path: re.Pattern[str]
    methods: frozenset[str]
    literal: str
    has_parameters: bool
    example: str

    def is_hidden_by(self, other: "_Route") -> bool:
        """Whether some of its addresses are those of a more specific resource, which has parameters too."""
        more_specific = other.has_parameters and len(other.literal) > len(self.literal)
        return more_specific and self.path.match(other.example) is not None


class Methods:
    """Middleware that answers what the method of a request alone decides.

    A resource is what the most specific of the routes to its address name: those with the most literal text.
    Its methods are theirs; a route that declares HEAD or OPTIONS answers it itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._resources: _Resources | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._resources is None:
            # Routes are added after middleware, and none any more once requests come.
            self._resources = _Resources(scope["app"].routes)
        method, path = scope["method"], scope["path"]
        if self._resources.surely_have(method, path):
            await self._app(scope, receive, send)
            return
        declared = self._resources.methods_of(path)
        if not declared or method in declared:
            await self._app(scope, receive, send)
        elif method == "HEAD" and "GET" in declared:
            await self._app({**scope, "method": "GET"}, receive, _without_content(send))
        elif method == "OPTIONS":
            await Response(status_code=204, headers=_allow(declared))(scope, receive, send)
        else:
            await problem(MethodNotAllowed(headers=_allow(declared)))(scope, receive, send)


class _Resources:
    """The methods of an application's resources."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._routes = _routes(routes)
        named = {route.literal for route in self._routes if not route.has_parameters}
        self._named = {path: self.methods_of(path) for path in named}
        # One pattern for all routes of a method: most requests are looked up in it and nowhere else.
        plain = [r for r in self._routes if not any(r.is_hidden_by(other) for other in self._routes)]
        self._patterns = {
            method: re.compile(
                "|".join(_NAME_OF_GROUP.sub("(?:", r.path.pattern) for r in plain if method in r.methods)
            )
            for method in {method for route in plain for method in route.methods}
        }

    def surely_have(self, method: str, path: str) -> bool:
        """Whether the resource at a path has a method; True is certain, and False is not."""
        named = self._named.get(path)
        if named is not None:
            return method in named
        pattern = self._patterns.get(method)
        return pattern is not None and pattern.match(path) is not None

    def methods_of(self, path: str) -> set[str]:
        """The methods that routes declare for the resource at a path."""
        matching = [route for route in self._routes if route.path.match(path)]
        most = max((len(route.literal) for route in matching), default=0)
        return {method for route in matching if len(route.literal) == most for method in route.methods}


def _routes(routes: Sequence[BaseRoute]) -> list[_Route]:
    found = []
    for context in iter_route_contexts(routes):
        if context.methods:
            path = context.path_format or ""
            literal, parameters = _PARAMETER.subn("", path)
            example = _PARAMETER.sub("x", path)
            route = _Route(context.path_regex, frozenset(context.methods), literal, parameters > 0, example)
            found.append(route)
    return found


def _allow(declared: set[str]) -> dict[str, str]:
    common = {"OPTIONS", "HEAD"} if "GET" in declared else {"OPTIONS"}
    return {"Allow": ", ".join(sorted(declared | common))}


def _without_content(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
