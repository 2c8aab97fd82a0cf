"""The process: what it opens, in which order, and how it ends."""

import asyncio
import contextlib
import errno
import gc
import logging
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from jettythunder_cdn.account import Account
from jettythunder_cdn.desktop.overview import Overview
from jettythunder_cdn.desktop.routes import CODES, OVERVIEW, UPLOADS
from jettythunder_cdn.desktop.routes import routes as desktop_routes
from jettythunder_cdn.desktop.uploads import Uploads
from jettythunder_cdn.errors import PortTaken
from jettythunder_cdn.figures import Figures
from jettythunder_cdn.guard import Guard, Tokens
from jettythunder_cdn.instance import Lock
from jettythunder_cdn.reading.cache import Cache
from jettythunder_cdn.routes import ACCOUNT, CACHE, routes
from jettythunder_cdn.settings import Settings
from jettythunder_cdn.store.store import Budget, open_store
from jettythunder_cdn.upstream import HttpUpstream
from jettythunder_cdn.web import GUARD, TOKENS, guarded
from jettythunder_client.connections import open_http

log = logging.getLogger(__name__)

_FLUSH_SECONDS = 30.0
_CONNECTIONS = 8
_FILES = 65_536
_PORTS_TRIED = 20


@asynccontextmanager
async def opened(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[web.Application]:
    """The application with everything it needs, closed in the end."""
    figures = Figures()
    account = Account(environment)
    budget = Budget(settings.budget_bytes, settings.min_free_bytes)
    store = open_store(settings.folder, budget, figures=figures, clock=clock)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(store.close)
        http = await stack.enter_async_context(open_http(max_connections=_CONNECTIONS))
        cache = Cache(
            HttpUpstream(http, lambda: account.api_url),
            store,
            figures=figures,
            offline_seconds=settings.offline_seconds,
            cache_key_seconds=settings.cache_key_seconds,
            cache_key_offline=settings.cache_key_offline,
            clock=clock,
        )
        stack.push_async_callback(cache.close)
        flushing = asyncio.create_task(_flush(cache))
        stack.callback(flushing.cancel)
        app = web.Application(middlewares=[guarded], client_max_size=64 * 1024)
        app[GUARD] = Guard(port=settings.port, origins=settings.origins)
        app[TOKENS] = Tokens(settings.state_dir)
        app[CACHE] = cache
        app[ACCOUNT] = account
        app[CODES] = {}
        app[OVERVIEW] = Overview(account, cache)
        uploads = app[UPLOADS] = Uploads(
            settings.state_dir / "uploads", account, cache, min_free_bytes=settings.min_free_bytes
        )
        uploads.start()
        stack.push_async_callback(uploads.close)
        app.router.add_routes(routes)
        app.router.add_routes(desktop_routes)
        yield app


async def serve(settings: Settings, environment: Mapping[str, str]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises:
        AlreadyRunning, PortTaken: as their names say.
    """
    lock = Lock(settings.state_dir)
    lock.take(port=settings.port)
    _allow_files()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):
            loop.add_signal_handler(number, stop.set)
    sockets = listen(settings.port)
    try:
        async with opened(settings, environment) as app:
            # What is imported and opened by now stays: searching it for garbage again and again costs time.
            gc.freeze()
            runner = web.AppRunner(app, access_log=None, shutdown_timeout=2)
            await runner.setup()
            for listening in sockets:
                await web.SockSite(runner, listening, backlog=1024).start()
            log.info("listening on http://localhost:%d", settings.port)
            await stop.wait()
            await runner.cleanup()
    finally:
        for listening in sockets:
            listening.close()
        lock.release()


def listen(port: int) -> list[socket.socket]:
    """Sockets of this machine alone, of IPv4 and, where it has that, of IPv6.

    Raises:
        PortTaken: another program has the port.
    """
    sockets = []
    try:
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            if (made := _bound(family, address, port)) is not None:
                sockets.append(made)
    except PortTaken:
        for made in sockets:
            made.close()
        raise
    return sockets


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket | None:
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((address, port))
        made.listen(1024)
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            free = next((f" ({p} is free)" for p in range(port + 1, port + _PORTS_TRIED) if _is_free(p)), "")
            raise PortTaken(
                f"Another program listens on port {port}. Name another one in JETTYSPEED_CDN_URL{free}."
            ) from None
        if family == socket.AF_INET:
            raise
        return None
    return made


def _is_free(port: int) -> bool:
    with socket.socket() as tried:
        try:
            tried.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def _flush(cache: Cache) -> None:
    while True:
        await asyncio.sleep(_FLUSH_SECONDS)
        try:
            cache.store.flush()
        except Exception:
            log.exception("the index could not be written")


def _allow_files() -> None:
    """A thousand readers have two files each: a connection and a block."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on Windows

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
