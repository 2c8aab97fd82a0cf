"""Builds the service: the servers behind it, its use-cases, its consumer and its edge."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from chunk_worker.consumers import CommandHandlers
from chunk_worker.repository import Repository
from chunk_worker.service import ChunkStore
from chunk_worker.settings import ChunkWorkerSettings
from chunk_worker.source import ChunkSource
from jettythunder.backbone import open_backbone
from jettythunder.contracts.uploads import UploadChunkV1
from jettythunder.storage import Storage
from jettythunder.topology import CHUNK_WORKER_COMMANDS

_NAME = "chunk-worker"


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open everything, let messages flow, and close in the opposite order."""
    settings: ChunkWorkerSettings = app.state.settings
    storage = Storage(settings)
    async with contextlib.AsyncExitStack() as stack:
        # Opened before the backbone, so that chunks in flight while it closes still have them.
        await storage.open()
        stack.push_async_callback(storage.close)
        source = await stack.enter_async_context(
            ChunkSource(stall_seconds=settings.chunk_source_stall_seconds).opened()
        )
        backbone = await stack.enter_async_context(open_backbone(settings, name=_NAME))
        store = ChunkStore(
            pool=backbone.pool, repository=Repository(), storage=storage, edge=settings.edge_id
        )
        handlers = CommandHandlers(store, source, gateway_prefixes=settings.gateway_prefixes)
        consumer = backbone.consumer(CHUNK_WORKER_COMMANDS, prefetch=settings.chunk_worker_prefetch)
        consumer.on(UploadChunkV1, handlers.on_upload_chunk)
        await backbone.start()
        app.state.pings = {**backbone.pings, "storage": storage.ping}
        app.state.ops_token = settings.jettythunder_ops_token.get_secret_value()
        yield
