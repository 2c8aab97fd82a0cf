"""Serves an application the way every service is served: `python -m jettythunder.http.serve module:app`.

A service that is told to end (SIGTERM) drains first: it still listens, is not ready, begins nothing more, and
finishes what it has begun within DRAIN_SECONDS. Then it stops listening.

The limits of the listener come from the environment (:class:`jettythunder.settings.ListenerSettings`). Where
INTERNAL_PORT is set, the same application listens there as well, with connections of its own.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import math
import resource
import socket
import sys
from importlib import import_module

import uvicorn
from fastapi import FastAPI
from uvicorn.config import STARTUP_FAILURE

from jettythunder.drain import Drain
from jettythunder.http.listener import Listener
from jettythunder.settings import ListenerSettings, load

_IDLE_SECONDS = 0.05
# After how many new objects garbage is looked for, and after how many looks in the next generation. Python's
# 700 objects are a few messages: thousands that are in use would be searched again and again.
_GARBAGE_COLLECTION = (20_000, 20, 20)


def main() -> None:
    """Serve until the process is told to end; what was begun is finished first."""
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
    sockets = [_bound(host, port) for host, port in listens_on]
    app = _load(given.application)
    server = _Server(
        _config(app, limits, internal), app.state.drain, seconds=app.state.settings.drain_seconds
    )
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=sockets)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


class _Server(uvicorn.Server):
    """A server whose application drains before it stops listening."""

    def __init__(self, config: uvicorn.Config, drain: Drain, *, seconds: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._seconds = seconds
        self._draining: asyncio.Task[None] | None = None
        self._ends_at = 0.0

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second; True where the server shall stop listening."""
        is_ending = await super().on_tick(counter)
        if not is_ending or self.force_exit:
            return is_ending
        if self._draining is None:
            self._ends_at = asyncio.get_running_loop().time() + self._seconds
            self._draining = asyncio.create_task(self._drain.run(seconds=self._seconds))
            # Where nothing is under way it is done at once.
            await asyncio.wait({self._draining}, timeout=_IDLE_SECONDS)
        return self._draining.done()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening; requests under way may take what is left of the time."""
        left_seconds = self._ends_at - asyncio.get_running_loop().time()
        self.config.timeout_graceful_shutdown = max(1, math.ceil(left_seconds))
        await super().shutdown(sockets)


def _config(app: FastAPI, limits: ListenerSettings, internal: dict[int, Listener]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=Listener(limits).protocol(internal),
        ws="none",
        # Who is a client is told by TRUSTED_PROXIES, and by nothing of uvicorn's own.
        proxy_headers=False,
        server_header=False,
        access_log=False,
        log_level=logging.WARNING,
        ssl_certfile=limits.http_tls_certificate,
        ssl_keyfile=limits.http_tls_key,
        timeout_keep_alive=limits.http_keep_alive_seconds,
    )


def _load(application: str) -> FastAPI:
    """Import the application. What it is made of is never garbage, and is not searched for any."""
    module, _, name = application.partition(":")
    gc.disable()
    app: FastAPI = getattr(import_module(module), name)
    gc.freeze()
    gc.set_threshold(*_GARBAGE_COLLECTION)
    gc.enable()
    return app


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
