"""The HTTP client's connections, tuned for a progress that tells the truth."""

import socket
from typing import Any

import aiohttp

from jettythunder_client.api import USER_AGENT

_UNSENT_BYTES = 128 * 1024


def open_http(*, max_connections: int) -> aiohttp.ClientSession:
    """A client session for calls and chunks; close it."""
    connector = aiohttp.TCPConnector(
        limit=max_connections + 8, keepalive_timeout=60, socket_factory=_socket, ttl_dns_cache=60
    )
    return aiohttp.ClientSession(
        connector=connector, headers={"User-Agent": USER_AGENT}, auto_decompress=False, trust_env=True
    )


def _socket(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol = address[0], address[1], address[2]
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Bytes that only wait in the kernel would count as sent: goodput would be overrated by megabytes.
    if (unsent := getattr(socket, "TCP_NOTSENT_LOWAT", None)) is not None:
        made.setsockopt(socket.IPPROTO_TCP, unsent, _UNSENT_BYTES)
    return made
