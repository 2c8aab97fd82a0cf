"""Serves an application the way every service is served: `python -m jettythunder.http.serve module:app`.

The limits of the listener come from the environment (:class:`jettythunder.settings.ListenerSettings`). Where
INTERNAL_PORT is set, the same application listens there as well, with connections of its own.
"""

import argparse
import contextlib
import gc
import logging
import resource
import socket
import sys

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from jettythunder.http.listener import Listener
from jettythunder.settings import ListenerSettings, load


def main() -> None:
    """Serve until the process is told to end; requests under way are finished first."""
    parser = argparse.ArgumentParser(prog="python -m jettythunder.http.serve", description=__doc__)
    parser.add_argument("application", help="module:name of the ASGI application")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    limits = load(ListenerSettings)
    _allow_files(2 * limits.http_max_connections)
    listens_on = [(given.host, given.port)]
    internal: dict[int, Listener] = {}
    if limits.internal_port is not None:
        listens_on.append((limits.internal_host or given.host, limits.internal_port))
        internal[limits.internal_port] = Listener(limits)
    config = _config(given.application, limits, internal)
    sockets = [_bound(host, port) for host, port in listens_on]
    _load(config)
    server = uvicorn.Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=sockets)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def _config(application: str, limits: ListenerSettings, internal: dict[int, Listener]) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        loop="uvloop",
        http=Listener(limits).protocol(internal),
        ws="none",
        # Who is a client is told by TRUSTED_PROXIES, and by nothing of uvicorn's own.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level=logging.WARNING,
        timeout_keep_alive=limits.http_keep_alive_seconds,
        timeout_graceful_shutdown=limits.http_graceful_seconds,
    )


def _load(config: uvicorn.Config) -> None:
    """Import the application. What it is made of is never garbage, and is not searched for any."""
    gc.disable()
    config.load()
    gc.freeze()
    gc.enable()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that is bound to an address, for the server to listen on.

    Raises:
        SystemExit: with a sentence, where the address can't be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        raise SystemExit(f"Can't listen on {host}, port {port}: {error.strerror}.") from None
    return bound


def _allow_files(wanted: int) -> None:
    """Let the process have this many open files, as far as it may have them: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


if __name__ == "__main__":
    main()
