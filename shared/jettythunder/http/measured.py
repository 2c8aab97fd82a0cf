"""Requests as metrics: how many, what became of them, how long answers took, and how many bytes.

Guarantee given here: the labels are methods and path templates that the service declares, so no client makes
new ones.
"""

import time
from collections.abc import Sequence

from fastapi.routing import iter_route_contexts
from prometheus_client import Counter, Histogram
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jettythunder import tracing
from jettythunder.http.callers import template_of
from jettythunder.http.sending import EXTENSION, file_sender

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_OUTCOMES = ("answered", "refused", "failed")

_requests = Counter(
    "jettythunder_http_requests_total", "Requests by what became of them", ["method", "path", "outcome"]
)
_seconds = Histogram(
    "jettythunder_http_request_seconds",
    "From the last byte of a request to the first of its answer, of those that are no error",
    ["method", "path"],
    buckets=_BUCKETS,
)
_received = Counter("jettythunder_http_received_bytes_total", "Bytes of requests' bodies", ["method", "path"])
_sent = Counter("jettythunder_http_sent_bytes_total", "Bytes of answers' bodies", ["method", "path"])


class Measured:
    """Middleware that measures requests. How slowly a client sends or reads is no part of their time."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._calls: _Calls | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._calls is None:
            # Routes are added after middleware, and none any more once requests come.
            self._calls = _Calls(scope["app"].routes)
        calls = self._calls
        arrived_at = time.monotonic()
        seconds: float | None = None
        exemplar: dict[str, str] | None = None
        outcome = "failed"

        async def receive_measured() -> Message:
            nonlocal arrived_at
            message = await receive()
            if size := len(message.get("body", b"")):
                arrived_at = time.monotonic()
                calls.of(scope).received.inc(size)
            return message

        async def send_measured(message: Message) -> None:
            nonlocal seconds, exemplar, outcome
            if message["type"] == "http.response.start":
                seconds = time.monotonic() - arrived_at
                exemplar = tracing.exemplar()
                outcome = outcome_of(message["status"])
            elif size := len(message.get("body", b"")):
                calls.of(scope).sent.inc(size)
            await send(message)

        if send_file := file_sender(scope):

            async def send_file_measured(file: int, offset: int, count: int) -> int:
                sent = await send_file(file, offset, count)
                calls.of(scope).sent.inc(sent)
                return sent

            scope["extensions"][EXTENSION] = send_file_measured

        try:
            await self._app(scope, receive_measured, send_measured)
        except Exception:
            outcome = "failed"
            raise
        finally:
            call = calls.of(scope)
            call.requests[outcome].inc()
            if outcome == "answered" and seconds is not None:
                call.seconds.observe(seconds, exemplar)


def outcome_of(status: int) -> str:
    """Whether a request was answered, refused for what is wrong with it, or failed for what is wrong here."""
    return "failed" if status >= 500 else "refused" if status >= 400 else "answered"


class _Call:
    """The metrics of one method of one path. They begin at 0, so that the first failure counts as a rise."""

    def __init__(self, method: str, path: str) -> None:
        self.requests = {outcome: _requests.labels(method, path, outcome) for outcome in _OUTCOMES}
        self.seconds = _seconds.labels(method, path)
        self.received = _received.labels(method, path)
        self.sent = _sent.labels(method, path)


class _Calls:
    """The calls that a service declares, and one for all requests that are none of them."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        self._declared: dict[tuple[str | None, str], _Call] = {
            (context.path, method): _Call(method, context.path)
            for context in iter_route_contexts(routes)
            if context.path is not None
            for method in context.methods or ()
        }
        self._other = _Call("other", "other")

    def of(self, scope: Scope) -> _Call:
        """The call that a request is, once it is routed."""
        return self._declared.get((template_of(scope), scope["method"]), self._other)
