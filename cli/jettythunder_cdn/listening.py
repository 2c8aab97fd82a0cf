"""Connections: of this machine alone, and so many at once that their memory is bounded."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import hdrs, web

from jettythunder_cdn.errors import PortTaken

MOST_CONNECTIONS = 256
"""Those that come beyond wait in the system's queue, where they take no memory of this process."""

_BACKLOG = 1024
_KEPT_SECONDS = 15.0
_CROWDED = MOST_CONNECTIONS // 2
_LOOK_AGAIN_SECONDS = 0.01
_PORTS_TRIED = 20


@asynccontextmanager
async def serving(
    app: web.Application, sockets: Sequence[socket.socket], *, shutdown_seconds: float = 2.0
) -> AsyncIterator[None]:
    """Answer on the sockets while inside."""
    runner = web.AppRunner(
        app, access_log=None, shutdown_timeout=shutdown_seconds, keepalive_timeout=_KEPT_SECONDS
    )

    async def make_room(_: web.Request, response: web.StreamResponse) -> None:
        # A connection that waits for its client's next request keeps others out.
        if _count(runner) > _CROWDED:
            response.headers[hdrs.CONNECTION] = "close"
            response.force_close()

    app.on_response_prepare.append(make_room)
    await runner.setup()
    accepting = [asyncio.create_task(_accept(listening, runner)) for listening in sockets]
    try:
        yield
    finally:
        for task in accepting:
            task.cancel()
        await asyncio.gather(*accepting, return_exceptions=True)
        await runner.cleanup()


async def _accept(listening: socket.socket, runner: web.AppRunner) -> None:
    loop = asyncio.get_running_loop()
    listening.setblocking(False)
    assert runner.server is not None  # noqa: S101 - the runner is set up
    while True:
        while _count(runner) >= MOST_CONNECTIONS:  # noqa: ASYNC110 - aiohttp does not say when one ends
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        try:
            connection, _ = await loop.sock_accept(listening)
        except OSError:
            # The system has no more files, or the client is gone already.
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
            continue
        try:
            await loop.connect_accepted_socket(runner.server, connection)
        except OSError:
            connection.close()


def _count(runner: web.AppRunner) -> int:
    return 0 if runner.server is None else len(runner.server.connections)


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
        made.listen(_BACKLOG)
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
