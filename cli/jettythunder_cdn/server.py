"""The process: what it opens, in which order, and how it ends."""

import asyncio
import contextlib
import gc
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from aiohttp import web

from jettythunder_cdn.account import Account
from jettythunder_cdn.desktop.overview import Overview
from jettythunder_cdn.desktop.routes import CODES, OVERVIEW, UPLOADS
from jettythunder_cdn.desktop.routes import routes as desktop_routes
from jettythunder_cdn.desktop.uploads import Uploads
from jettythunder_cdn.figures import Figures
from jettythunder_cdn.guard import Guard, Tokens
from jettythunder_cdn.instance import Lock
from jettythunder_cdn.listening import listen, serving
from jettythunder_cdn.reading.cache import Cache
from jettythunder_cdn.routes import ACCOUNT, CACHE, routes
from jettythunder_cdn.settings import Settings
from jettythunder_cdn.store.store import Budget, open_store
from jettythunder_cdn.upstream import HttpUpstream
from jettythunder_cdn.web import GUARD, TOKENS, guarded
from jettythunder_client.connections import open_http

log = logging.getLogger(__name__)

_FLUSH_SECONDS = 30.0
_FORGET_SECONDS = 3600.0
_CONNECTIONS = 8
_FILES = 4096


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
        for seconds, work in ((_FLUSH_SECONDS, store.flush), (_FORGET_SECONDS, cache.forget_old)):
            stack.callback(asyncio.create_task(_repeat(seconds, work)).cancel)
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
            async with serving(app, sockets):
                log.info("listening on http://localhost:%d", settings.port)
                await stop.wait()
    finally:
        for listening in sockets:
            listening.close()
        lock.release()


async def _repeat(seconds: float, work: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            work()
        except Exception:
            log.exception("the index could not be written")


def _allow_files() -> None:
    """Every reader has two files, a connection and a block; some systems allow 256 unless they are asked."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # noqa: PLC0415 - not on Windows

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _FILES if most == resource.RLIM_INFINITY else min(most, _FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
