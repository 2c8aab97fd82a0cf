"""A network between a client and a server: a proxy with latency, rates, and faults to call up.

Latency is half of the round trip each way, and a whole one for a new connection. A connection never gets more
than `per_connection`, as with a send window of that many bytes per second times the round trip; all of them
together never more than `rate`. What the other side does not take in time is not read: the sender feels it.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from contextlib import suppress
from urllib.parse import urlsplit

_REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE|PATCH) (\S+) HTTP/1\.1\r\n")
_ANSWER = re.compile(rb"HTTP/1\.1 (\d{3}) ")
_CHUNK = re.compile(r"/chunks/(\d+)$")
_PART = re.compile(r"[?&]partNumber=(\d+)")
_BUFFER_BYTES = 64 * 1024
_PIECE_SECONDS = 0.02
_CATCH_UP_SECONDS = 0.25
_FLIP_AFTER_BYTES = 100_000


class Pace:
    """Hands out moments to send at, so that a rate in bytes per second is kept.

    A busy machine wakes up late: what was not used in the last `catch_up_seconds` may be made up for.
    """

    def __init__(self, rate: float | None, *, catch_up_seconds: float = _CATCH_UP_SECONDS) -> None:
        self.rate = rate
        self._catch_up_seconds = catch_up_seconds
        self._free_at = 0.0

    def book(self, size_bytes: int, now: float) -> float:
        """When the bytes are through."""
        if self.rate is None:
            return now
        self._free_at = max(self._free_at, now - self._catch_up_seconds) + size_bytes / self.rate
        return self._free_at


class Uplink:
    """What several links share, such as the line of a home."""

    def __init__(self, rate: float | None) -> None:
        self.pace = Pace(rate)


class Link:
    """A proxy to `target`, by its `url`. Rates are in bytes per second, `rtt_seconds` is the round trip."""

    def __init__(
        self,
        target: str = "",
        *,
        rate: float | None = None,
        per_connection: float | None = None,
        rtt_seconds: float = 0.0,
        uplink: Uplink | None = None,
        catch_up_seconds: float = _CATCH_UP_SECONDS,
    ) -> None:
        self.target = target
        self.requests: list[str] = []
        self.statuses: list[int] = []
        self.forwarded_bytes = 0
        self.flips_left = 0
        self.hang_ups_left = 0
        """Kept connections that are closed as a further request comes in, as a server's time-out does."""
        self.span: tuple[float, float] | None = None
        self._uplink = uplink or Uplink(rate)
        self._own = Pace(rate if uplink is not None else None)
        self._per_connection = per_connection
        self._catch_up_seconds = catch_up_seconds
        # Fast connections pass in larger pieces, so that their number, and what the proxy takes, stays small.
        self._buffer_bytes = max(_BUFFER_BYTES, int((per_connection or 0) * _PIECE_SECONDS))
        self._rtt_seconds = rtt_seconds
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def chunk_numbers(self) -> list[int]:
        """The chunk of every PUT that passed, in order."""
        found = (_CHUNK.search(line) for line in self.requests)
        return [int(match.group(1)) for match in found if match is not None]

    def set_rate(self, rate: float | None) -> None:
        """Carry so many bytes per second from now on, shared with whoever shares the uplink."""
        self._uplink.pace.rate = rate

    @property
    def part_numbers(self) -> list[int]:
        """The part of every PUT to the object storage that passed, in order."""
        found = (_PART.search(line) for line in self.requests if line.startswith("PUT"))
        return [int(match.group(1)) for match in found if match is not None]

    def forget(self) -> None:
        """Forget what passed until now."""
        self.requests.clear()
        self.statuses.clear()
        self.forwarded_bytes = 0
        self.span = None

    async def open(self) -> Link:
        """Listen; after `die` on the same port again."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer_bytes)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._serve, sock=listener, limit=self._buffer_bytes)
        return self

    async def die(self) -> None:
        """Refuse connections and reset those that are open."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def stall(self) -> None:
        """Take no more bytes, and say nothing."""
        self._flowing.clear()

    def flow(self) -> None:
        """End a stall."""
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        address = urlsplit(self.target)
        upstream: asyncio.StreamWriter | None = None
        try:
            await asyncio.sleep(self._rtt_seconds)
            answers, upstream = await asyncio.open_connection(
                address.hostname, address.port, limit=self._buffer_bytes
            )
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._forward(reader, upstream))
                pumps.create_task(self._back(answers, writer))
        except* (OSError, _Ended, asyncio.CancelledError):
            # `die` cancels: that is an end like any other, and nobody waits for it.
            pass
        finally:
            self._connections.discard(task)
            for side in (writer, upstream):
                if side is not None:
                    side.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        own = Pace(self._per_connection, catch_up_seconds=self._catch_up_seconds)
        piece_bytes = int(max(2048, min(self._buffer_bytes, (self._per_connection or 4e6) * _PIECE_SECONDS)))
        delayed: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(256)
        passed = requests = 0
        async with asyncio.TaskGroup() as group:
            group.create_task(_deliver(delayed, upstream))
            while piece := await reader.read(piece_bytes):
                await self._flowing.wait()
                if match := _REQUEST.match(piece):
                    requests += 1
                    if requests > 1 and self.hang_ups_left > 0:
                        self.hang_ups_left -= 1
                        raise _Ended
                    self.requests.append(f"{match.group(1).decode()} {match.group(2).decode()}")
                passed += len(piece)
                self.forwarded_bytes += len(piece)
                now = time.monotonic()
                self.span = (self.span[0] if self.span else now, now)
                paces = (self._uplink.pace, self._own, own)
                due_at = max(pace.book(len(piece), now) for pace in paces)
                await asyncio.sleep(max(0.0, due_at - now))
                await delayed.put((time.monotonic() + self._rtt_seconds / 2, self._spoilt(piece, passed)))
            raise _Ended

    def _spoilt(self, piece: bytes, passed: int) -> bytes:
        if self.flips_left == 0 or passed < _FLIP_AFTER_BYTES or len(piece) < 1000:
            return piece
        self.flips_left -= 1
        middle = len(piece) // 2
        return piece[:middle] + bytes([piece[middle] ^ 1]) + piece[middle + 1 :]

    async def _back(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await answers.read(self._buffer_bytes):
            await self._flowing.wait()
            if match := _ANSWER.match(piece):
                self.statuses.append(int(match.group(1)))
            await asyncio.sleep(self._rtt_seconds / 2)
            writer.write(piece)
            await writer.drain()
            now = time.monotonic()
            self.span = (self.span[0] if self.span else now, now)
        raise _Ended


class _Ended(Exception):
    """One side closed; the connection is over."""


async def _deliver(delayed: asyncio.Queue[tuple[float, bytes]], upstream: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while True:
            due_at, piece = await delayed.get()
            await asyncio.sleep(max(0.0, due_at - time.monotonic()))
            upstream.write(piece)
            await upstream.drain()
