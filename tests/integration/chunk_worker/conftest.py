"""A gateway's ends of the wire: a spool over HTTP, uploads in the database, and commands with replies."""

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
from aio_pika.abc import AbstractChannel
from aiohttp import web
from pydantic import TypeAdapter
from tests.support.infrastructure import Infrastructure
from tests.support.waiting import eventually

from jettythunder import topology
from jettythunder.broker.rpc import RpcClient
from jettythunder.contracts.envelope import Payload
from jettythunder.contracts.replies import Denied
from jettythunder.contracts.uploads import ChunkStored, UploadChunkV1
from jettythunder.settings import StorageSettings
from jettythunder.storage import Storage, StoredPart

CHUNK_BYTES = 5 << 20
WAIT_SECONDS = 30.0

_answers: TypeAdapter[ChunkStored | Denied] = TypeAdapter(ChunkStored | Denied)


def md5_of(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


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
class Upload:
    """An open upload, in the database and in the object storage."""

    id: UUID
    account_id: UUID
    s3_bucket: str
    s3_key: str
    s3_upload_id: str


@dataclass(frozen=True)
class Gateway:
    """What a storage-gateway does with its chunks."""

    spool: Spool
    pool: "asyncpg.Pool[asyncpg.Record]"
    storage: Storage
    rpc: RpcClient
    channel: AbstractChannel

    async def begin(self) -> Upload:
        """An account with an open upload."""
        upload_id, account_id = uuid4(), uuid4()
        key = f"tests/{account_id}/{upload_id}/file"
        upload = Upload(
            upload_id,
            account_id,
            self.storage.bucket,
            key,
            await self.storage.create_multipart(key, content_type="application/octet-stream"),
        )
        await self.pool.execute(
            "INSERT INTO agentcache_accounts (id, agentcache_user_id, agentcache_user_ref, agentcache_email,"
            " agentcache_tier, api_key, api_secret, storage_quota_gb, bandwidth_quota_gb, s3_bucket_name,"
            " s3_prefix) VALUES ($1, $1, $2, 'a@example.com', 'pro', $2, '', 20, 50, $3, $4)",
            account_id,
            str(account_id),
            upload.s3_bucket,
            f"tests/{account_id}/",
        )
        await self.pool.execute(
            "INSERT INTO uploads (id, account_id, kind, filename, content_type, s3_bucket, s3_key,"
            " s3_upload_id, correlation_id, expires_at) VALUES ($1, $2, 'form', 'file',"
            " 'application/octet-stream', $3, $4, $5, '', now() + interval '1 hour')",
            upload.id,
            account_id,
            upload.s3_bucket,
            key,
            upload.s3_upload_id,
        )
        return upload

    def command(self, upload: Upload, data: bytes, *, number: int = 1, **other: Any) -> UploadChunkV1:
        """Spool a chunk; the command that has it stored."""
        path = f"/internal/chunks/{upload.id}/{number}"
        self.spool.chunks[path] = data
        command = UploadChunkV1(
            upload_id=upload.id,
            account_id=upload.account_id,
            number=number,
            size_bytes=len(data),
            md5=md5_of(data),
            source_url=f"{self.spool.url}{path}?expires_at=4102444800&signature=ours",
            s3_bucket=upload.s3_bucket,
            s3_key=upload.s3_key,
            s3_upload_id=upload.s3_upload_id,
        )
        return command.model_copy(update=other)

    async def call(self, command: Payload) -> ChunkStored | Denied:
        body = await self.rpc.call(
            command, exchange=topology.COMMANDS, source="/storage-gateway", timeout_seconds=WAIT_SECONDS
        )
        return _answers.validate_json(body)

    async def stored(self, command: UploadChunkV1) -> ChunkStored:
        """The acknowledgement that is the answer."""
        answer = await self.call(command)
        assert isinstance(answer, ChunkStored), answer
        return answer

    async def denied(self, command: UploadChunkV1) -> Denied:
        """The refusal that is the answer."""
        answer = await self.call(command)
        assert isinstance(answer, Denied), answer
        return answer

    async def rows(self, upload: Upload) -> list[asyncpg.Record]:
        """What is recorded of the upload's chunks, in their order."""
        return await self.pool.fetch(
            "SELECT * FROM upload_chunks WHERE upload_id = $1 ORDER BY number", upload.id
        )

    async def object_of(self, upload: Upload) -> bytes:
        """Complete the upload with the recorded chunks, and read the object."""
        parts = [StoredPart(row["number"], row["etag"]) for row in await self.rows(upload)]
        await self.storage.complete_multipart(upload.s3_key, upload.s3_upload_id, parts)
        size_bytes = await self.storage.size_of(upload.s3_key)
        async with self.storage.read(upload.s3_key, start=0, end=size_bytes - 1) as blocks:
            return b"".join([block async for block in blocks])

    async def only_event(self, event_type: str, upload: Upload) -> dict[str, Any]:
        """Wait for the one logged event of a type about the upload; its data."""

        async def logged() -> list[dict[str, Any]]:
            return await self._events(event_type, upload)

        found: list[dict[str, Any]] = await eventually(logged)
        assert len(found) == 1, found
        return found[0]

    async def _events(self, event_type: str, upload: Upload) -> list[dict[str, Any]]:
        fence = uuid4().hex
        await self.channel.default_exchange.publish(
            aio_pika.Message(b"", type=topology.LOG_PROBE, message_id=fence), topology.EVENT_LOG
        )
        log = await self.channel.declare_queue(topology.EVENT_LOG, passive=True)
        found: list[dict[str, Any]] = []
        async with (
            asyncio.timeout(WAIT_SECONDS),
            log.iterator(arguments={"x-stream-offset": "first"}) as arriving,
        ):
            async for message in arriving:
                await message.ack()
                if message.message_id == fence:
                    break
                if message.type == event_type:
                    data = json.loads(message.body)["data"]
                    found += [data] if data["upload_id"] == str(upload.id) else []
        return found


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
    given = {k.lower(): v for k, v in infrastructure.environment.items() if k.startswith("LYVE_")}
    storage = Storage(StorageSettings.model_validate(given))
    await storage.open()
    await storage.ensure_bucket()
    rpc = RpcClient(infrastructure.rabbitmq_url, name="test gateway")
    try:
        async with (
            asyncpg.create_pool(infrastructure.database_url, min_size=1, max_size=4) as pool,
            await aio_pika.connect(infrastructure.rabbitmq_url) as connection,
        ):
            channel = await connection.channel(publisher_confirms=True)
            await channel.set_qos(prefetch_count=500)
            yield Gateway(spool, pool, storage, rpc, channel)
    finally:
        await rpc.close()
        await storage.close()
        await runner.cleanup()


def random_chunk() -> bytes:
    """A chunk of the smallest size that S3 joins with others."""
    return os.urandom(CHUNK_BYTES)
