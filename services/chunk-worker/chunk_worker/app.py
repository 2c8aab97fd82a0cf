"""The service: what it opens, in which order, and its HTTP side."""

from collections.abc import AsyncGenerator

import svcs
from fastapi import FastAPI

from chunk_worker.chunks import handlers as chunk_handlers
from chunk_worker.chunks.source import ChunkSource
from chunk_worker.chunks.spooled import SpooledChunks
from chunk_worker.chunks.storing import ChunkStore
from chunk_worker.edge.assembly import STREAMED_PATHS, add_edge, open_edge
from chunk_worker.messages import MESSAGES, SOURCE
from chunk_worker.settings import Settings
from chunk_worker.verification import handlers as verification_handlers
from chunk_worker.verification.verify import AssetVerifier
from jettythunder import http, telemetry
from jettythunder.broker.service import open_messaging
from jettythunder.chunk_urls import ChunkUrls
from jettythunder.chunks.store import Store
from jettythunder.lifecycle import open_database, open_tracing
from jettythunder.storage import open_storage

_NAME = "chunk-worker"

ROUTERS = (chunk_handlers.router, verification_handlers.router)


def create_app() -> FastAPI:
    """The application that a server runs."""
    app = http.create_app(
        "JettyThunder chunk-worker",
        description="Stores chunks as parts in the object storage: those that gateways hold, as commanded,"
        " and, where EDGE_URL is set, those that clients send to this edge.",
        settings=Settings,
        lifespan=lifespan,
        streamed_paths=STREAMED_PATHS,
    )
    settings: Settings = app.state.settings
    if settings.edge_url is not None:
        add_edge(app)
    return app


@svcs.fastapi.lifespan
async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
    """Open everything, let messages flow, and close in the opposite order."""
    settings: Settings = app.state.settings
    telemetry.configure(_NAME, settings)
    open_tracing(registry, settings, service=_NAME)
    database = await open_database(registry, settings, service=_NAME)
    storage = await open_storage(registry, settings)
    source = ChunkSource(stall_seconds=settings.chunk_source_stall_seconds)
    await source.open()
    registry.register_value(ChunkSource, source, on_registry_close=source.close)

    chunks = Store(database, source=SOURCE)
    store = ChunkStore(chunks, storage, edge=settings.edge_id)
    chunk_handlers.set_prefetch(settings.chunk_worker_prefetch)
    spooled = SpooledChunks(
        store,
        source,
        chunks,
        ChunkUrls.of(settings),
        gateways=settings.gateways,
        edge=settings.edge_id,
    )
    messaging = await open_messaging(
        registry,
        settings,
        database,
        messages=MESSAGES,
        routers=ROUTERS,
        context={"spooled_chunks": spooled, "asset_verifier": AssetVerifier(storage)},
    )
    await messaging.start()
    app.state.drain.add(messaging.drain)
    if settings.edge_url is not None:
        open_edge(app.state.drain, registry, settings, database, store, url=settings.edge_url)
    yield
