"""Builds the service: the servers behind it, its use-cases, its consumer and its edge."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from pydantic import SecretStr

from chunk_worker import consumers
from chunk_worker.domain import ByteBudget
from chunk_worker.ingest import EdgeIngest
from chunk_worker.messages import MESSAGES
from chunk_worker.recorder import Recorder
from chunk_worker.registration import Registration
from chunk_worker.repository import Repository
from chunk_worker.service import ChunkStore
from chunk_worker.settings import ChunkWorkerSettings
from chunk_worker.source import ChunkSource
from jettythunder.backbone import open_backbone
from jettythunder.edge_tokens import EdgeTokens
from jettythunder.storage import Storage

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
        backbone = await stack.enter_async_context(
            open_backbone(settings, name=_NAME, queues=MESSAGES.queues, routers=consumers.ROUTERS)
        )
        repository = Repository()
        store = ChunkStore(pool=backbone.pool, repository=repository, storage=storage, edge=settings.edge_id)
        consumers.set_prefetch(settings.chunk_worker_prefetch)
        backbone.provide(ingest=consumers.Ingest(store, source, gateway_prefixes=settings.gateway_prefixes))
        signing_key = settings.jettythunder_signing_key.get_secret_value()
        budget = ByteBudget(settings.edge_budget_bytes)
        recorder = Recorder(settings.recorder_url, api_key=_secret(settings.agentcache_api_key))
        await stack.enter_async_context(recorder.running())
        app.state.ingest = EdgeIngest(
            store, EdgeTokens(signing_key), budget, recorder, stall_seconds=settings.edge_stall_seconds
        )
        await backbone.start()
        if settings.edge_url is not None:
            registration = Registration(
                pool=backbone.pool,
                repository=repository,
                budget=budget,
                edge_id=settings.edge_id,
                region=settings.edge_region,
                url=settings.edge_url.rstrip("/"),
            )
            await stack.enter_async_context(registration.kept())
        app.state.pings = {**backbone.pings, "storage": storage.ping}
        app.state.ops_token = settings.jettythunder_ops_token.get_secret_value()
        yield


def _secret(given: SecretStr | None) -> str | None:
    return None if given is None else given.get_secret_value()
