"""Headers of answers: those that every answer has, and those that were noted for one while it was made."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

RawHeader = tuple[bytes, bytes]

# Where its handler does not say otherwise, an answer stays out of caches, and browsers do not guess its type.
_DEFAULTS: Sequence[RawHeader] = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_NOTED = "noted_headers"


def note_headers(scope: Scope, headers: Sequence[RawHeader]) -> None:
    """Have these headers added to the answer to a request, whatever the answer is."""
    scope.setdefault("state", {})[_NOTED] = headers


class AnswerHeaders:
    """Middleware that adds the default headers and the noted ones to answers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                names = {name for name, _ in given}
                missing = [header for header in _DEFAULTS if header[0] not in names]
                message["headers"] = [*given, *missing, *scope.get("state", {}).get(_NOTED, ())]
            await send(message)

        await self._app(scope, receive, send_with_headers)
