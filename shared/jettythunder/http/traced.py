"""The span of a request."""

from asgi_correlation_id import correlation_id
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jettythunder import security_log, tracing
from jettythunder.http.callers import template_of
from jettythunder.http.internal import Internal

_UNTRACED = ("/healthz", "/readyz", "/metrics")
_METHODS = frozenset(("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"))


class Traced:
    """Middleware that records requests: the route's template, the status and the account, and nothing of the
    path, the query, the headers or the body.

    Args:
        trusts_clients: whether a client's trace is gone on with; that of an internal request always is.
    """

    def __init__(self, app: ASGIApp, *, internal: Internal, trusts_clients: bool) -> None:
        self._app = app
        self._internal = internal
        self._trusts_clients = trusts_clients

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _UNTRACED or tracing.active is None:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        method = scope["method"] if scope["method"] in _METHODS else "HTTP"
        with tracing.active.serving(
            method,
            traceparent=headers.get("traceparent"),
            tracestate=headers.get("tracestate"),
            is_trusted=self._trusts_clients or self._internal.received(scope),
        ) as span:
            if span.is_recorded:
                await self._record(span, method, scope, receive, send)
            else:
                await self._app(scope, receive, send)

    async def _record(
        self, span: tracing.Span, method: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        async def send_and_note(message: Message) -> None:
            if message["type"] == "http.response.start":
                status = message["status"]
                span.note({"http.response.status_code": status})
                if status >= 500:
                    span.fail(str(status))
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = template_of(scope)
            known = {
                "http.route": route,
                "jettythunder.correlation_id": correlation_id.get(),
                "jettythunder.account_id": security_log.account_of_caller(),
            }
            span.note(
                {name: str(value) for name, value in known.items() if value is not None},
                name=method if route is None else f"{method} {route}",
            )
