"""An application as every service has it: problem+json, correlation, health, readiness and metrics."""

import asyncio
from typing import Annotated
from uuid import uuid4

import svcs
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from svcs.fastapi import lifespan as SvcsLifespan  # noqa: N812 - a class of the library

from jettythunder import __version__, signing
from jettythunder.errors import JettyThunderError, Unauthenticated
from jettythunder.http.headers import DefaultHeaders
from jettythunder.http.problems import answer_problems
from jettythunder.http.provided import registry_of
from jettythunder.memory import keep_freed_memory
from jettythunder.settings import ServiceSettings, load

_LONGEST_CORRELATION_ID = 128

# What readiness calls the things that services register, where that is not the name of their class.
_CHECK_NAMES = {"Messaging": "broker", "BrokerLink": "broker"}


def create_app(
    title: str, *, description: str, settings: type[ServiceSettings], lifespan: SvcsLifespan
) -> FastAPI:
    """An application with OpenAPI at /docs, problem+json errors, /healthz, /readyz and /metrics.

    The settings are read here, before anything is started, into ``app.state.settings``: a missing one stops
    the service with its sentence and nothing else.
    """
    keep_freed_memory()
    app = FastAPI(
        title=title,
        description=description,
        version=__version__,
        lifespan=lifespan,
        # A redirect would send credentials to whatever host the request names.
        redirect_slashes=False,
    )
    app.state.settings = load(settings)
    answer_problems(app)
    app.add_middleware(DefaultHeaders)
    app.add_middleware(
        CorrelationIdMiddleware,
        header_name="X-Correlation-ID",
        update_request_header=False,
        generator=lambda: uuid4().hex,
        validator=_is_plain,
    )
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
    pings = svcs.Container(registry_of(request)).get_pings()
    results = await asyncio.gather(*(ping.aping() for ping in pings), return_exceptions=True)
    checks = {_check_name(ping): _state(result) for ping, result in zip(pings, results, strict=True)}
    ready = all(state == "ok" for state in checks.values())
    return JSONResponse(
        {"status": "ready" if ready else "not_ready", "checks": checks}, 200 if ready else 503
    )


async def metrics() -> Response:
    """Prometheus metrics of this process."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


_bearer = HTTPBearer(auto_error=False, description="The ops token (JETTYTHUNDER_OPS_TOKEN)")


async def ops_only(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)] = None
) -> None:
    """Admit operators, by bearer token.

    Raises:
        Unauthenticated: the token is missing or wrong.
    """
    settings: ServiceSettings = request.app.state.settings
    expected = settings.jettythunder_ops_token.get_secret_value()
    if given is None or not signing.matches(given.credentials, expected):
        raise Unauthenticated


def _check_name(ping: svcs.ServicePing) -> str:
    name = ping.name.rpartition(".")[2]
    return _CHECK_NAMES.get(name, name.lower())


def _state(result: BaseException | None) -> str:
    if result is None:
        return "ok"
    return result.code if isinstance(result, JettyThunderError) else type(result).__name__


def _is_plain(given: str) -> bool:
    """Whether a caller's correlation id may be taken over: it ends up in logs, messages and headers."""
    letters = given.replace("-", "").replace("_", "")
    return 0 < len(given) <= _LONGEST_CORRELATION_ID and letters.isascii() and letters.isalnum()
