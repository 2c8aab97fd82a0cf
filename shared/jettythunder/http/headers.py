"""Headers of answers: those that every answer has, and those that were noted for one while it was made."""

from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jettythunder.drain import Drain

RawHeader = tuple[bytes, bytes]

# Where its handler does not say otherwise, an answer stays out of caches, and browsers do not guess its type.
_DEFAULTS: Sequence[RawHeader] = ((b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff"))
_NOTED = "noted_headers"


def note_headers(scope: Scope, headers: Sequence[RawHeader]) -> None:
    """Have these headers added to the answer to a request, whatever the answer is."""
    scope.setdefault("state", {})[_NOTED] = headers


class AnswerHeaders:
    """Middleware that adds the default headers and the noted ones to answers.

    Where the service drains, each answer is the last one on its connection: the next request goes to another
    instance.
    """

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers", ())
                names = {name for name, _ in given}
                missing = [header for header in _DEFAULTS if header[0] not in names]
                last = [(b"connection", b"close")] if self._drain.has_begun else []
                message["headers"] = [*given, *missing, *last, *scope.get("state", {}).get(_NOTED, ())]
            await send(message)

        await self._app(scope, receive, send_with_headers)
