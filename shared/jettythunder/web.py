"""What every service's HTTP side has: problem+json, correlation, health, readiness and metrics."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from uuid import uuid4

import asyncpg
import sentry_sdk
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic_settings import BaseSettings
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jettythunder import __version__, auth, telemetry
from jettythunder.database import CONNECTION_ERRORS
from jettythunder.errors import (
    BadRequest,
    DatabaseUnavailable,
    InvalidField,
    JettyThunderError,
    NotFound,
    Unauthenticated,
)
from jettythunder.memory import keep_freed_memory
from jettythunder.settings import load

log = telemetry.logger(__name__)

PROBLEM = "application/problem+json"
CORRELATION_HEADER = "X-Correlation-ID"

Ping = Callable[[], Awaitable[None]]
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(title: str, *, description: str, settings: type[BaseSettings], lifespan: Lifespan) -> FastAPI:
    """An application with OpenAPI at /docs, problem+json errors, /healthz, /readyz and /metrics.

    The settings are read here, before anything is started, into ``app.state.settings``: a missing one stops
    the service with its sentence and nothing else. The lifespan sets ``app.state.pings`` (name to ping) and
    ``app.state.ops_token``.
    """
    keep_freed_memory()
    app = FastAPI(title=title, description=description, version=__version__, lifespan=lifespan)
    app.state.settings = load(settings)
    app.add_middleware(CorrelationMiddleware)
    app.add_exception_handler(JettyThunderError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(asyncpg.PostgresConnectionError, _on_database_lost)
    app.add_exception_handler(asyncpg.InterfaceError, _on_database_lost)
    app.add_exception_handler(asyncpg.OperatorInterventionError, _on_database_lost)
    app.add_exception_handler(OSError, _on_database_lost)
    app.add_exception_handler(Exception, _on_unexpected)
    app.add_api_route("/healthz", healthz, methods=["GET"], tags=["operation"])
    app.add_api_route("/readyz", readyz, methods=["GET"], tags=["operation"])
    app.add_api_route(
        "/metrics", metrics, methods=["GET"], tags=["operation"], dependencies=[Depends(ops_only)]
    )
    return app


async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok", "version": __version__}


async def readyz(request: Request) -> Response:
    """Every server this service needs answers; 503 names those that don't."""
    pings: Mapping[str, Ping] = request.app.state.pings
    results = await asyncio.gather(*(ping() for ping in pings.values()), return_exceptions=True)
    checks = {
        name: "ok" if not isinstance(result, BaseException) else type(result).__name__
        for name, result in zip(pings, results, strict=True)
    }
    ready = all(state == "ok" for state in checks.values())
    return JSONResponse(
        {"status": "ready" if ready else "not_ready", "checks": checks}, 200 if ready else 503
    )


async def metrics() -> Response:
    """Prometheus metrics of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


_bearer = HTTPBearer(auto_error=False, description="The ops token (JETTYTHUNDER_OPS_TOKEN)")


def ops_only(request: Request, given: HTTPAuthorizationCredentials | None = Depends(_bearer)) -> None:  # noqa: B008
    """Let ops in, by bearer token.

    Raises:
        Unauthenticated: the token is missing or wrong.
    """
    if given is None or not auth.matches(given.credentials, request.app.state.ops_token):
        raise Unauthenticated


def problem(error: JettyThunderError) -> JSONResponse:
    """The error as RFC 9457 problem+json, with its stable ``code``."""
    headers = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, round(error.retry_after_seconds)))
    elif error.status == 503:
        headers["Retry-After"] = "1"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    body = {
        "type": f"urn:jettythunder:error:{error.code}",
        "title": (type(error).__doc__ or "").strip(),
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "retryable": error.retryable,
        "success": False,
        "correlation_id": telemetry.correlation_id.get(),
        **error.extra,
    }
    return JSONResponse(body, error.status, headers, media_type=PROBLEM)


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, JettyThunderError)  # noqa: S101 - registered for this class
    if error.status >= 500:
        log.warning("request failed", code=error.code, cause=repr(error.__cause__))
    return problem(error)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class
    places = [
        {"field": ".".join(str(part) for part in e["loc"][1:]) or str(e["loc"][0]), "message": e["msg"]}
        for e in error.errors()
    ]
    if any(e["type"] == "json_invalid" for e in error.errors()):
        return problem(BadRequest("The body is not valid JSON."))
    named = "; ".join(f"{place['field']}: {place['message']}" for place in places)
    return problem(InvalidField(f"A field has a value that is not allowed: {named}", fields=places))


async def _on_http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class
    if error.status_code == 404:
        return problem(NotFound())
    answer = problem(BadRequest(str(error.detail)))
    answer.status_code = error.status_code
    return answer


async def _on_database_lost(_: Request, error: Exception) -> Response:
    log.warning("database lost", error_type=type(error).__name__)
    return problem(DatabaseUnavailable())


async def _on_unexpected(_: Request, error: Exception) -> Response:
    if isinstance(error, CONNECTION_ERRORS):
        return problem(DatabaseUnavailable())
    log.error("unexpected error", exc_info=error)
    sentry_sdk.capture_exception(error)
    return problem(JettyThunderError())


class CorrelationMiddleware:
    """Takes the caller's correlation id, or makes one, for all that the request causes, and answers it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = next((v for k, v in scope["headers"] if k == b"x-correlation-id"), b"").decode("latin-1")
        # Foreign text ends up in logs and messages, so only plain ids are taken over.
        plain = (
            given
            if 0 < len(given) <= 128 and given.replace("-", "").replace("_", "").isalnum()
            else uuid4().hex
        )

        async def send_correlated(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (b"x-correlation-id", plain.encode())]
            await send(message)

        with telemetry.correlated(plain):
            await self._app(scope, receive, send_correlated)
