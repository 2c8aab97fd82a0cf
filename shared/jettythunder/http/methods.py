"""Methods that every resource has (RFC 9110, section 9): HEAD wherever GET is answered, and OPTIONS."""

from fastapi.routing import iter_route_contexts
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send


def allowed_methods(scope: Scope) -> list[str]:
    """The methods that the resource of a request takes, in order; none where there is no such resource."""
    allowed = _declared(scope)
    if "GET" in allowed:
        allowed.add("HEAD")
    return sorted(allowed | {"OPTIONS"} if allowed else allowed)


class CommonMethods:
    """Middleware that answers HEAD as GET without its content, and OPTIONS with the methods allowed.

    A route that declares one of them answers it itself.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("HEAD", "OPTIONS"):
            declared = _declared(scope)
            if scope["method"] == "HEAD" and "GET" in declared and "HEAD" not in declared:
                await self._app({**scope, "method": "GET"}, receive, _without_content(send))
                return
            if scope["method"] == "OPTIONS" and declared and "OPTIONS" not in declared:
                answer = Response(status_code=204, headers={"Allow": ", ".join(allowed_methods(scope))})
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def _declared(scope: Scope) -> set[str]:
    return {
        method
        for context in iter_route_contexts(scope["app"].routes)
        if context.path_regex.match(scope["path"])
        for method in context.methods or ()
    }


def _without_content(send: Send) -> Send:
    async def send_head(message: Message) -> None:
        if message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await send(message)

    return send_head
