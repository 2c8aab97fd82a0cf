"""Edges, and clients that send them chunks with tokens as a gateway mints them."""

import asyncio
import base64
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import aiohttp
import pytest
import pytest_asyncio
from tests.support.infrastructure import Infrastructure, RunningService, ServiceStarter
from tests.support.uploads import Upload, Uploads, md5_of, opened_uploads
from tests.support.worker_edge import EDGE_SECRET, WorkerEdge, running_worker

from jettythunder import edge_tokens
from jettythunder.edge_tokens import EdgeToken
from jettythunder.signatures import SigningKeys

# Heartbeats that a test need not sit out.
BRISK = {"EDGE_HEARTBEAT_SECONDS": "0.5"}
CHUNKS_PER_ACCOUNT = 6
_NARROW = {"EDGE_CHUNKS_PER_ACCOUNT": str(CHUNKS_PER_ACCOUNT)}


class Reachable(Protocol):
    """An edge of any kind."""

    @property
    def url(self) -> str: ...


@dataclass(frozen=True)
class Answer:
    """An edge's answer."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str]

    @property
    def problem(self) -> tuple[int, str]:
        return self.status, self.body["code"]


@dataclass(frozen=True)
class Client:
    """Sends chunks to edges."""

    http: aiohttp.ClientSession
    keys: SigningKeys

    def token(self, upload: Upload, size_bytes: int, *, number: int = 1, **other: Any) -> str:
        """A token as a gateway mints it, or one that differs from it in ``other``."""
        usual = EdgeToken(
            account_id=upload.account_id,
            upload_id=upload.id,
            number=number,
            size_bytes=size_bytes,
            s3_bucket=upload.s3_bucket,
            s3_key=upload.s3_key,
            s3_upload_id=upload.s3_upload_id,
            epoch=0,
            expires_at=int(time.time()) + 60,
        )
        return edge_tokens.mint(self.keys, replace(usual, **other))

    async def put(
        self,
        edge: Reachable,
        upload: Upload,
        data: bytes | AsyncIterator[bytes],
        *,
        number: int = 1,
        token: str | None = None,
        headers: dict[str, str | None] | None = None,
    ) -> Answer:
        """Send a chunk; a header of None is left out."""
        whole = data if isinstance(data, bytes) else b""
        sent = {
            "Authorization": f"Bearer {token or self.token(upload, len(whole), number=number)}",
            "Content-MD5": content_md5(whole),
        }
        wanted = {name: value for name, value in (sent | (headers or {})).items() if value is not None}
        url = f"{edge.url}/edge/uploads/{upload.id}/chunks/{number}"
        async with self.http.put(url, data=data, headers=wanted) as answer:
            return Answer(answer.status, await answer.json(content_type=None), dict(answer.headers))

    @contextlib.asynccontextmanager
    async def half_sent(
        self, edge: Reachable, upload: Upload, data: bytes, *, number: int = 1
    ) -> AsyncIterator["HalfSent"]:
        """A chunk of which the edge has the first half only."""
        host, port = edge.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = (
            f"PUT /edge/uploads/{upload.id}/chunks/{number} HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {self.token(upload, len(data), number=number)}\r\n"
            f"Content-MD5: {content_md5(data)}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + data[: len(data) // 2])
        await writer.drain()
        answer = asyncio.create_task(reader.readline())
        try:
            yield HalfSent(writer, data[len(data) // 2 :], answer)
        finally:
            writer.close()
            answer.cancel()
            with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                await answer


@dataclass(frozen=True)
class HalfSent:
    """The connection of a chunk that is half sent."""

    writer: asyncio.StreamWriter
    rest: bytes
    answer: asyncio.Task[bytes]

    @property
    def was_refused(self) -> bool:
        """Whether the edge answered before it had the rest."""
        return self.answer.done()

    async def finish(self) -> int:
        """Send the rest; the answer's status."""
        self.writer.write(self.rest)
        return await self.status()

    async def status(self) -> int:
        """The answer's status."""
        return int((await self.answer).split()[1])


async def listed_load(uploads: Uploads, edge_id: str) -> int:
    """The bytes in flight that the edge told of with its last heartbeat."""
    found = await uploads.pool.fetchval("SELECT in_flight_bytes FROM edges WHERE id = $1", edge_id)
    return int(found)


def content_md5(data: bytes) -> str:
    """The value of a Content-MD5 header."""
    return base64.b64encode(bytes.fromhex(md5_of(data))).decode()


@pytest_asyncio.fixture(scope="package")
async def uploads(infrastructure: Infrastructure) -> AsyncIterator[Uploads]:
    async with opened_uploads(infrastructure) as opened:
        yield opened


@pytest_asyncio.fixture(scope="package")
async def client(infrastructure: Infrastructure) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as http:
        yield Client(http, SigningKeys.parse(infrastructure.environment["JETTYTHUNDER_SIGNING_KEYS"]))


@pytest.fixture(scope="package")
def edges(
    uploads: Uploads, infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[RunningService]]:
    """Two edges, `near` and `far`."""
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("edges"))
    told = BRISK | _NARROW
    started = [starter("chunk-worker", {"EDGE_ID": name, **told}, wait=False) for name in ("near", "far")]
    for edge in started:
        edge.wait_until_ready()
    yield started
    starter.end()


@pytest.fixture(scope="package")
def worker_edge(
    uploads: Uploads, infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WorkerEdge]:
    """The Cloudflare Worker, under the name `near`, and the gateway that it works with."""
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("gateway"))
    try:
        gateway = starter("storage-gateway", {"EDGE_SECRETS": EDGE_SECRET, **_NARROW})
        folder = tmp_path_factory.mktemp("worker")
        with running_worker(infrastructure, folder, gateway_url=gateway.url, edge_id="near") as worker:
            yield worker
    finally:
        starter.end()


@pytest.fixture
def edge(edges: list[RunningService]) -> RunningService:
    return edges[0]
