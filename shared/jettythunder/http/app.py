"""An application as every service has it: problem+json, correlation, health, readiness and metrics."""

import asyncio
from collections.abc import Sequence
from typing import Any

import svcs
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import REGISTRY, Gauge
from prometheus_client.exposition import choose_encoder
from svcs.fastapi import lifespan as SvcsLifespan  # noqa: N812 - a class of the library
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from jettythunder import __version__
from jettythunder.drain import Drain
from jettythunder.errors import JettyThunderError, ShuttingDown
from jettythunder.http.bodies import BodyLimit, EarlyAnswers
from jettythunder.http.callers import Callers
from jettythunder.http.documents import DescribedAPI
from jettythunder.http.guard import Route
from jettythunder.http.headers import AnswerHeaders
from jettythunder.http.internal import Internal, InternalPaths
from jettythunder.http.measured import Measured
from jettythunder.http.methods import Methods
from jettythunder.http.operators import OPERATOR_SECURITY, MetricsRoute, OperatorAccess
from jettythunder.http.problems import answer_problems
from jettythunder.http.provided import registry_of
from jettythunder.http.traced import Traced
from jettythunder.ids import new_id
from jettythunder.memory import keep_freed_memory
from jettythunder.settings import ProcessSettings, load

_LONGEST_CORRELATION_ID = 128
_MAX_BODY_BYTES = 1024 * 1024
_READINESS_SECONDS = 1.0

_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {
        "description": "A server that this service needs does not answer, or the service is being stopped.",
        "content": {"application/json": {}},
    }
}

# What readiness calls the things that services register, where that is not the name of their class.
_CHECK_NAMES = {"Messaging": "broker", "BrokerLink": "broker"}

_reachable = Gauge(
    "jettythunder_server_reachable", "1 while a server that this service needs answers", ["server"]
)


def create_app(
    title: str,
    *,
    description: str,
    settings: type[ProcessSettings],
    lifespan: SvcsLifespan,
    streamed_paths: Sequence[str] = (),
    internal_paths: Sequence[str] = (),
) -> FastAPI:
    """An application with OpenAPI at /docs, problem+json errors, /healthz, /readyz and /metrics.

    The settings are read here, before anything is started, into ``app.state.settings``: a missing one stops
    the service with its sentence and nothing else. A live service has no /docs and no /openapi.json.

    Args:
        streamed_paths: paths whose handlers limit and stream their bodies themselves, as
            :class:`jettythunder.http.bodies.BodyLimit` takes them.
        internal_paths: paths that only the internal listener serves where INTERNAL_PORT is set, with all
            below them; /metrics is one of them always.
    """
    keep_freed_memory()
    read = load(settings)
    is_live = read.jettythunder_environment == "live"
    app = DescribedAPI(
        title=title,
        description=description,
        version=__version__,
        lifespan=lifespan,
        # A redirect would send credentials to whatever host the request names.
        redirect_slashes=False,
        docs_url=None if is_live else "/docs",
        redoc_url=None if is_live else "/redoc",
        openapi_url=None if is_live else "/openapi.json",
        # FastAPI's own spans go on with any client's trace and show query strings, where signatures are.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.router.route_class = Route
    app.state.settings = read
    app.state.readiness = _Readiness()
    app.state.drain = drain = Drain()
    app.state.operator_access = OperatorAccess(read.operator_tokens)
    answer_problems(app)
    app.add_middleware(Methods)
    app.add_middleware(
        BodyLimit,
        max_bytes=_MAX_BODY_BYTES,
        seconds=read.http_body_seconds,
        streamed_paths=streamed_paths,
    )
    internal = Internal(read.internal_port, ("/metrics", *internal_paths))
    if read.internal_port is not None:
        app.add_middleware(InternalPaths, internal=internal)
    app.add_middleware(AnswerHeaders, drain=drain)
    app.add_middleware(EarlyAnswers)
    if read.otel_exporter_otlp_endpoint is not None:
        app.add_middleware(Traced, internal=internal, trusts_clients=read.traceparent_of_clients == "parent")
    app.add_middleware(
        CorrelationIdMiddleware,
        header_name="X-Correlation-ID",
        update_request_header=False,
        generator=lambda: new_id().hex,
        validator=_is_plain,
    )
    app.add_middleware(Callers)
    app.add_middleware(Measured)
    if read.trusted_proxies:
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=read.trusted_proxies)
    app.add_api_route("/healthz", healthz, methods=["GET"], tags=["operation"])
    app.add_api_route("/readyz", readyz, methods=["GET"], tags=["operation"], responses=_NOT_READY)
    app.router.add_api_route(
        "/metrics",
        metrics,
        methods=["GET"],
        tags=["operation"],
        dependencies=OPERATOR_SECURITY,
        route_class_override=MetricsRoute,
        response_class=PlainTextResponse,
    )
    return app


async def healthz() -> dict[str, str]:
    """The process is alive."""
    return {"status": "ok", "version": __version__}


async def readyz(request: Request) -> Response:
    """Every server this service needs answers; 503 names those that don't. They are asked once a second.

    A service that is being stopped is not ready either.
    """
    if request.app.state.drain.has_begun:
        return JSONResponse({"status": "not_ready", "checks": {"drain": ShuttingDown.code}}, 503)
    readiness: _Readiness = request.app.state.readiness
    checks = await readiness.checks(registry_of(request))
    ready = all(state == "ok" for state in checks.values())
    return JSONResponse(
        {"status": "ready" if ready else "not_ready", "checks": checks}, 200 if ready else 503
    )


class _Readiness:
    """What the pings of a service's registry came to, kept for a moment: anybody may ask for it."""

    def __init__(self) -> None:
        self._pinging = asyncio.Lock()
        self._checks: dict[str, str] = {}
        self._good_until = float("-inf")

    async def checks(self, registry: svcs.Registry) -> dict[str, str]:
        """The state of each server."""
        loop = asyncio.get_running_loop()
        async with self._pinging:
            if loop.time() >= self._good_until:
                pings = svcs.Container(registry).get_pings()
                results = await asyncio.gather(*(ping.aping() for ping in pings), return_exceptions=True)
                self._checks = {
                    _check_name(ping): _state(result) for ping, result in zip(pings, results, strict=True)
                }
                self._good_until = loop.time() + _READINESS_SECONDS
        return self._checks


async def metrics(request: Request) -> Response:
    """Prometheus metrics of this process, and which of the servers that it needs answer now.

    They have exemplars where the scraper takes OpenMetrics.
    """
    readiness: _Readiness = request.app.state.readiness
    for server, state in (await readiness.checks(registry_of(request))).items():
        _reachable.labels(server).set(state == "ok")
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), media_type=content_type)


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
