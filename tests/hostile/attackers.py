"""Clients that mean no good, in a process of their own: `python -m tests.hostile.attackers`, told by stdin.

They hold what they can get, come again when they are cut off, and end with their standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import socket
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass

from tests.support.gateway import BOUNDARY, part_head

MEGABYTE = 1_000_000
JSON_BYTES = 100 * MEGABYTE
PATIENCE_SECONDS = 60.0
ARRIVAL_SECONDS = 10.0
_BLOCK = b"[[],[],[],[],[],[]]," * 10_000


@dataclass(frozen=True)
class Attack:
    """Who attacks with what: headers of accounts, paths of links, and how many of each kind at once."""

    host: str
    port: int
    accounts: list[dict[str, str]]
    links: list[str]
    slow_uploads: int
    stalled_readers: int
    silent_connections: int
    json_bodies: int

    @property
    def clients(self) -> int:
        """How many there are of all kinds."""
        return self.slow_uploads + self.stalled_readers + self.silent_connections + self.json_bodies

    def as_json(self) -> str:
        return json.dumps(asdict(self))


class Attackers:
    """Keeps as many clients of each kind busy as wanted."""

    def __init__(self, attack: Attack) -> None:
        self._attack = attack
        self.begun: Counter[str] = Counter()

    async def run(self) -> None:
        attack = self._attack
        kinds: tuple[tuple[Callable[[int], Awaitable[None]], int], ...] = (
            (self._upload_slowly, attack.slow_uploads),
            (self._read_nothing, attack.stalled_readers),
            (self._stay_silent, attack.silent_connections),
            (self._send_json, attack.json_bodies),
        )
        await asyncio.gather(
            *(self._again_and_again(kind, index) for kind, count in kinds for index in range(count))
        )

    async def _again_and_again(self, kind: Callable[[int], Awaitable[None]], index: int) -> None:
        # They come one after another, and so they come again: what is measured is their number, not a wave.
        await asyncio.sleep(random.uniform(0, ARRIVAL_SECONDS))
        while True:
            self.begun[kind.__name__] += 1
            with contextlib.suppress(OSError, EOFError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await kind(index)
            await asyncio.sleep(1)

    async def _upload_slowly(self, index: int) -> None:
        """Send a little over a mebibyte, and then some bytes a second: half of them just fast enough."""
        attack = self._attack
        headers = {
            **attack.accounts[index % len(attack.accounts)],
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(9 * MEGABYTE),
        }
        async with self._connection() as (reader, writer):
            writer.write(_head("POST", "/api/storage/upload", headers) + part_head("file", "slow.bin"))
            writer.write(os.urandom(1_100_000))
            trickle = bytes(2_000 if index % 2 else 1)
            while not reader.at_eof():
                await writer.drain()
                writer.write(trickle)
                await asyncio.sleep(1)

    async def _read_nothing(self, index: int) -> None:
        attack = self._attack
        async with self._connection(receive_bytes=4096, limit=1) as (_, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(_head("GET", attack.links[index % len(attack.links)], {}))
            await asyncio.sleep(PATIENCE_SECONDS)

    async def _stay_silent(self, _: int) -> None:
        async with self._connection() as (reader, _writer):
            await reader.read()

    async def _send_json(self, index: int) -> None:
        """Send 100 MB of JSON, as an account or as nobody, announced or not."""
        attack = self._attack
        is_account = bool(index % 2)
        path = "/api/storage/uploads" if is_account else "/api/agentcache/provision"
        headers = attack.accounts[index % len(attack.accounts)] if is_account else {}
        is_announced = bool(index % 4 < 2)
        framing = {"Content-Length": str(JSON_BYTES)} if is_announced else {"Transfer-Encoding": "chunked"}
        async with self._connection() as (reader, writer):
            writer.write(_head("POST", path, {**headers, **framing, "Content-Type": "application/json"}))
            for _ in range(JSON_BYTES // len(_BLOCK)):
                writer.write(_BLOCK if is_announced else b"%x\r\n%s\r\n" % (len(_BLOCK), _BLOCK))
                await writer.drain()
            await reader.read(100)

    @contextlib.asynccontextmanager
    async def _connection(
        self, *, receive_bytes: int | None = None, limit: int = 1 << 16
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        endpoint = socket.socket()
        endpoint.setblocking(False)
        if receive_bytes is not None:
            endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        await asyncio.get_running_loop().sock_connect(endpoint, (self._attack.host, self._attack.port))
        reader, writer = await asyncio.open_connection(sock=endpoint, limit=limit)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()


def _head(method: str, path: str, headers: dict[str, str]) -> bytes:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {path} HTTP/1.1\r\nHost: gateway\r\n{lines}\r\n".encode()


async def _main() -> None:
    attackers = Attackers(Attack(**json.loads(sys.stdin.readline())))
    running = asyncio.create_task(attackers.run())
    await asyncio.to_thread(sys.stdin.read)
    running.cancel()
    print(json.dumps(attackers.begun), flush=True)


if __name__ == "__main__":
    asyncio.run(_main())
