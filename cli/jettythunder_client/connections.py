"""The HTTP client's connections, tuned so that the progress shown is what was really sent."""

import socket
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import aiohttp

from jettythunder_client.proxies import Proxies, through

USER_AGENT = f"jettythunder-client/{version('jettythunder-client')}"
_UNSENT_BYTES = 128 * 1024
# Shorter than servers and load balancers keep an idle connection (60 to 75 s).
_KEPT_SECONDS = 45


@dataclass
class Route:
    """How a request went; give it as ``trace_request_ctx``."""

    kept: bool = False
    """Whether it took a connection that an earlier request had left: the server may have closed it since."""


def open_http(*, max_connections: int) -> aiohttp.ClientSession:
    """A client session for calls and chunks; close it."""
    connector = aiohttp.TCPConnector(
        limit=max_connections + 8, keepalive_timeout=_KEPT_SECONDS, socket_factory=_socket, ttl_dns_cache=60
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers={"User-Agent": USER_AGENT},
        auto_decompress=False,
        middlewares=[through(Proxies.of_machine())],
        trace_configs=[_routes()],
    )


def _routes() -> aiohttp.TraceConfig:
    """Notes on each request's Route what connection it took."""

    async def reused(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
        _note(context, kept=True)

    async def made(_: aiohttp.ClientSession, context: SimpleNamespace, __: Any) -> None:
        _note(context, kept=False)

    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(reused)
    config.on_connection_create_start.append(made)
    return config


def _note(context: SimpleNamespace, *, kept: bool) -> None:
    route = context.trace_request_ctx
    if isinstance(route, Route):
        route.kept = kept


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[0], address[1], address[2]
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Bytes that only wait in the kernel would count as sent: goodput would be overrated by megabytes.
    if (unsent := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
        made.setsockopt(socket.IPPROTO_TCP, unsent, _UNSENT_BYTES)
    return made
