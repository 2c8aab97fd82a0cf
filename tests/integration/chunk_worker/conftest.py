"""A gateway's ends of the wire: a spool over HTTP, uploads in the database, and commands with replies."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import TypeAdapter
from tests.support.event_log import logged_events
from tests.support.infrastructure import Infrastructure, RunningService, ServiceStarter
from tests.support.uploads import Upload, Uploads, crc_of, opened_uploads
from tests.support.waiting import eventually

from jettythunder.broker import topology
from jettythunder.broker.rpc import RpcClient
from jettythunder.chunk_urls import ChunkUrls
from jettythunder.contracts.assets import AssetVerified
from jettythunder.contracts.envelope import Payload
from jettythunder.contracts.replies import Denied
from jettythunder.contracts.uploads import ChunkStored, UploadChunkV2

WAIT_SECONDS = 60.0

Answer: TypeAlias = ChunkStored | AssetVerified | Denied

_answers: TypeAdapter[Answer] = TypeAdapter(Answer)


@dataclass
class Spool:
    """Chunks by path, served as a gateway serves them. A held path's answer stops half-way until released."""

    url: str = ""
    chunks: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    held: dict[str, asyncio.Event] = field(default_factory=dict)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        chunk = self.chunks.get(request.path)
        if chunk is None:
            return web.Response(status=404)
        answer = web.StreamResponse(headers={"Content-Length": str(len(chunk))})
        await answer.prepare(request)
        await answer.write(chunk[: len(chunk) // 2])
        if request.path in self.held:
            await self.held[request.path].wait()
        await answer.write(chunk[len(chunk) // 2 :])
        return answer


@dataclass(frozen=True)
class Gateway:
    """What a storage-gateway does with its chunks."""

    spool: Spool
    uploads: Uploads
    rpc: RpcClient
    rabbitmq_url: str
    urls: ChunkUrls

    def command(self, upload: Upload, data: bytes, *, number: int = 1, **other: Any) -> UploadChunkV2:
        """Spool a chunk; the command that has it stored."""
        path = f"/internal/chunks/{upload.id}/{number}"
        self.spool.chunks[path] = data
        command = UploadChunkV2(
            upload_id=upload.id,
            account_id=upload.account_id,
            number=number,
            size_bytes=len(data),
            checksum=crc_of(data),
            source_url=self.source_url(upload, number),
            s3_bucket=upload.s3_bucket,
            s3_key=upload.s3_key,
            s3_upload_id=upload.s3_upload_id,
        )
        return command.model_copy(update=other)

    def source_url(self, upload: Upload, number: int = 1, *, base_url: str | None = None) -> str:
        """The signed address of a chunk, at this gateway or elsewhere."""
        return self.urls.signed(base_url or self.spool.url, upload.id, number, expires_at=4102444800)

    async def call(self, command: Payload) -> Answer:
        body = await self.rpc.call(
            command, exchange=topology.COMMANDS, source="/storage-gateway", timeout_seconds=WAIT_SECONDS
        )
        return _answers.validate_json(body)

    async def stored(self, command: Payload) -> ChunkStored:
        """The acknowledgement that is the answer."""
        answer = await self.call(command)
        assert isinstance(answer, ChunkStored), answer
        return answer

    async def denied(self, command: Payload) -> Denied:
        """The refusal that is the answer."""
        answer = await self.call(command)
        assert isinstance(answer, Denied), answer
        return answer

    async def only_event(self, event_type: str, upload: Upload) -> dict[str, Any]:
        """Wait for the one logged event of a type about the upload; its data."""

        async def logged() -> list[dict[str, Any]]:
            return await self._events(event_type, upload)

        found: list[dict[str, Any]] = await eventually(logged)
        assert len(found) == 1, found
        return found[0]

    async def _events(self, event_type: str, upload: Upload) -> list[dict[str, Any]]:
        events = await logged_events(self.rabbitmq_url, event_type)
        return [event.data for event in events if event.data["upload_id"] == str(upload.id)]


@contextlib.asynccontextmanager
async def opened_gateway(infrastructure: Infrastructure) -> AsyncIterator[Gateway]:
    """A gateway on these servers."""
    spool = Spool()
    app = web.Application()
    app.router.add_get("/{path:.*}", spool.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    spool.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    rpc = RpcClient(infrastructure.rabbitmq_url, name="test gateway")
    try:
        async with opened_uploads(infrastructure) as uploads:
            urls = ChunkUrls([infrastructure.environment["JETTYTHUNDER_INTERNAL_KEY"]])
            yield Gateway(spool, uploads, rpc, infrastructure.rabbitmq_url, urls)
    finally:
        await rpc.close()
        await runner.cleanup()


@pytest_asyncio.fixture(scope="package")
async def gateway(infrastructure: Infrastructure) -> AsyncIterator[Gateway]:
    """A gateway on the session's servers."""
    async with opened_gateway(infrastructure) as opened:
        yield opened


@pytest.fixture(scope="package")
def worker(
    gateway: Gateway, infrastructure: Infrastructure, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """The worker that stores the chunks of that gateway and reads its objects back."""
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("worker"))
    yield starter("chunk-worker")
    starter.end()
