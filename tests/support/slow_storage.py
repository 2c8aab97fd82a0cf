"""A proxy before the object storage that answers every part late, as a busy or far storage does."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

_PART = re.compile(rb"PUT \S*[?&]partNumber=")


@dataclass
class SlowStorage:
    """The storage by its ``url``, acknowledging each part ``delay_seconds`` late."""

    url: str
    delay_seconds: float


class _Side(asyncio.Protocol):
    """One side of a connection; what it reads goes to the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class.
        self.transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def write(self, data: bytes) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)


class _Storage(_Side):
    """The storage's side: holds an answer back for as long as it is told to."""

    def __init__(self, slow: SlowStorage) -> None:
        super().__init__()
        self.late = False
        self._slow = slow
        self._held: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        if not self.late:
            self.other.write(data)
            return
        if not self._held:
            asyncio.get_running_loop().call_later(self._slow.delay_seconds, self._release)
        self._held.append(data)

    def _release(self) -> None:
        assert self.other is not None
        self.late = False
        self.other.write(b"".join(self._held))
        self._held.clear()


class _Caller(_Side):
    """The caller's side, which connects to the storage and tells it which answers are to be late."""

    def __init__(self, host: str, port: int, slow: SlowStorage) -> None:
        super().__init__()
        self._address = host, port
        self._storage = _Storage(slow)
        self._connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._connecting = asyncio.create_task(self._connect(self.transport))

    async def _connect(self, transport: asyncio.Transport) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self._storage, *self._address)
        except OSError:
            transport.abort()
            return
        self.other, self._storage.other = self._storage, self
        transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        # A request begins a read of its own: before the answer to the last one nobody sends another.
        if _PART.match(data):
            self._storage.late = True
        self._storage.write(data)


@contextlib.asynccontextmanager
async def slow_storage(endpoint: str, *, delay_seconds: float) -> AsyncIterator[SlowStorage]:
    """The storage at ``endpoint``, seen through a proxy that holds the answers to parts back."""
    address = urlsplit(endpoint)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    loop = asyncio.get_running_loop()
    slow = SlowStorage("", delay_seconds)
    server = await loop.create_server(lambda: _Caller(host, port, slow), "127.0.0.1", 0)
    slow.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield slow
    finally:
        server.close()
