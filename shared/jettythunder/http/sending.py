"""Answers whose body is in an open file: the kernel sends it, and no byte passes through the process.

uvicorn has neither of ASGI's extensions for this, so the listener adds its own to the scope of a request
(:mod:`jettythunder.http.listener`), for connections that are not encrypted by the process.
"""

import asyncio
import os
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

EXTENSION = "jettythunder.sendfile"

# File, offset and count of bytes. It says how many were sent once the kernel has them or the client is gone.
SendFile: TypeAlias = Callable[[int, int, int], Awaitable[int]]


def file_sender(scope: Scope) -> SendFile | None:
    """What sends parts of a file as the body of a started answer; None where the kernel can't."""
    sender: SendFile | None = scope.get("extensions", {}).get(EXTENSION)
    return sender


class FileSender:
    """Sends parts of files as the body of one answer.

    Args:
        stall_seconds: the longest time in which the client may take nothing.
        cut: closes the connection of a client that takes longer.
    """

    def __init__(self, cycle: RequestResponseCycle, *, stall_seconds: float, cut: Callable[[], None]) -> None:
        # Weak, since the cycle's scope refers to this sender: the two would stay in memory until the garbage
        # collector runs. The task that answers the request keeps the cycle.
        self._cycle: RequestResponseCycle = weakref.proxy(cycle)
        self._stall_seconds = stall_seconds
        self._cut = cut

    async def __call__(self, file: int, offset: int, count: int) -> int:
        """Send ``count`` bytes of a file from ``offset``, fewer if the client is gone; how many were sent."""
        if not self._cycle.transport.is_closing():
            await self._send_what_waits()
        if self._cycle.transport.is_closing():
            self._cycle.disconnected = True
        if self._cycle.disconnected:
            return 0
        asked = count
        # uvloop lets nobody else wait for a socket that it reads from, so this waits for a second one.
        socket = os.dup(self._cycle.transport.get_extra_info("socket").fileno())
        try:
            while count:
                sent = await _to_its_end(asyncio.to_thread(_send, socket, file, offset, count))
                self._cycle.expected_content_length -= sent
                offset, count = offset + sent, count - sent
                if count:
                    await self._wait_until_writable(socket)
        except ConnectionError:
            self._end(self._cycle.transport.abort)
        except TimeoutError:
            self._end(self._cut)
        finally:
            os.close(socket)
        return asked - count

    def _end(self, end: Callable[[], None]) -> None:
        end()
        # uvicorn learns of it a moment later, and would miss the rest of the body until then.
        self._cycle.disconnected = True

    async def _send_what_waits(self) -> None:
        """Wait until the head of the answer, and all before it, is with the kernel."""
        transport = self._cycle.transport
        low, high = transport.get_write_buffer_limits()
        transport.set_write_buffer_limits(high=0)
        try:
            await self._cycle.flow.drain()
        finally:
            # A transport that was closed meanwhile takes no limits.
            if not transport.is_closing():
                transport.set_write_buffer_limits(high=high, low=low)

    async def _wait_until_writable(self, socket: int) -> None:
        loop = asyncio.get_running_loop()
        writable = asyncio.Event()
        loop.add_writer(socket, writable.set)
        try:
            async with asyncio.timeout(self._stall_seconds):
                await writable.wait()
        finally:
            loop.remove_writer(socket)


async def _to_its_end(sending: Coroutine[Any, Any, int]) -> int:
    """Wait for a thread though this be cancelled: descriptors closed under it could be others' by then."""
    task = asyncio.create_task(sending)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _send(socket: int, file: int, offset: int, count: int) -> int:
    """Send as much as the kernel takes without waiting: how many bytes that was."""
    sent = 0
    try:
        while sent < count:
            taken = os.sendfile(socket, file, offset + sent, count - sent)
            if not taken:
                raise ConnectionError("The file is shorter than what is to be sent of it.")
            sent += taken
    except BlockingIOError:
        pass
    return sent
