"""An HTTP proxy (RFC 9110, section 7.3): whole addresses in request lines, and tunnels by CONNECT."""

from __future__ import annotations

import asyncio
import base64
import re
from contextlib import suppress
from urllib.parse import urlsplit

_HEAD = re.compile(rb"([A-Z]+) (\S+) HTTP/1\.1\r\n")
_REFUSAL = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class Proxy:
    """Forwards requests to ``target`` (host, port), whatever they ask for, and notes what that was.

    With ``credentials`` (`user:password`) it refuses who has others.
    """

    def __init__(self, target: tuple[str, int], *, credentials: str = "", host: str = "127.0.0.1") -> None:
        self.asked: list[str] = []
        """Methods with hosts and ports."""
        self._target = target
        self._host = host
        self._expected = base64.b64encode(credentials.encode()) if credentials else b""

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._serve, self._host, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            found = _HEAD.match(head)
            assert found is not None, head
            method, address = found.group(1), found.group(2).decode()
            asked = address if method == b"CONNECT" else urlsplit(address).netloc
            self.asked.append(f"{method.decode()} {asked}")
            if self._expected and b"Basic " + self._expected not in head:
                writer.write(_REFUSAL)
                await writer.drain()
            else:
                await self._forward(method, address, head, reader, writer)
        writer.close()

    async def _forward(
        self,
        method: bytes,
        address: str,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._target)
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            parts = urlsplit(address)
            path = f"{parts.path}?{parts.query}" if parts.query else parts.path
            # One request for each connection, so that none goes on unseen.
            rewritten = head.replace(address.encode(), path.encode(), 1)
            upstream_writer.write(rewritten.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1))
        await asyncio.gather(_pump(reader, upstream_writer), _pump(upstream_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while block := await reader.read(65_536):
            writer.write(block)
            await writer.drain()
    writer.close()
