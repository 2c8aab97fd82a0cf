"""The service: what it opens, in which order, and its HTTP side."""

from collections.abc import AsyncGenerator

import svcs
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.middleware.cors import CORSMiddleware

from chunk_worker.chunks import handlers as chunk_handlers
from chunk_worker.chunks.source import ChunkSource
from chunk_worker.chunks.spooled import SpooledChunks
from chunk_worker.chunks.store import Store
from chunk_worker.chunks.storing import ChunkStore
from chunk_worker.edge.ingest import EdgeIngest
from chunk_worker.edge.model import InFlight
from chunk_worker.edge.recorder import Recorder
from chunk_worker.edge.registration import Registration
from chunk_worker.edge.routes import router
from chunk_worker.messages import MESSAGES
from chunk_worker.settings import Settings
from chunk_worker.verification import handlers as verification_handlers
from chunk_worker.verification.verify import AssetVerifier
from jettythunder import http, telemetry
from jettythunder.broker.service import open_messaging
from jettythunder.database import Database
from jettythunder.edge_tokens import EdgeTokens
from jettythunder.lifecycle import open_database
from jettythunder.slots import Slots
from jettythunder.storage import open_storage

_NAME = "chunk-worker"

ROUTERS = (chunk_handlers.router, verification_handlers.router)


def create_app() -> FastAPI:
    """The application that a server runs."""
    app = http.create_app(
        "JettyThunder chunk-worker",
        description="Stores chunks as parts in the object storage: those that gateways hold, as commanded,"
        " and those that clients send to this edge.",
        settings=Settings,
        lifespan=lifespan,
        streamed_paths=("/edge/uploads/",),
    )
    app.include_router(router)
    # Any origin may send chunks: a chunk's token gives access, never a cookie.
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["PUT", "GET"],
        allow_headers=["Authorization", "Content-MD5", "Content-Type", "X-Correlation-ID"],
        expose_headers=["Retry-After", "X-Correlation-ID"],
        max_age=7200,
    )
    return app


@svcs.fastapi.lifespan
async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
    """Open everything, let messages flow, and close in the opposite order."""
    settings: Settings = app.state.settings
    telemetry.configure(_NAME, settings)
    database = await open_database(registry, settings, service=_NAME)
    storage = await open_storage(registry, settings)
    source = ChunkSource(stall_seconds=settings.chunk_source_stall_seconds)
    await source.open()
    registry.register_value(ChunkSource, source, on_registry_close=source.close)

    chunks = Store(database)
    store = ChunkStore(chunks, storage, edge=settings.edge_id)
    in_flight = InFlight(
        settings.edge_budget_bytes,
        Slots(settings.edge_chunks, per_holder=settings.edge_chunks_per_account),
    )
    registry.register_value(EdgeIngest, _ingest(registry, settings, store, in_flight))

    chunk_handlers.set_prefetch(settings.chunk_worker_prefetch)
    spooled = SpooledChunks(
        store, source, chunks, gateway_prefixes=settings.gateway_prefixes, edge=settings.edge_id
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
    if settings.edge_url is not None:
        _register(registry, settings, database, in_flight, url=settings.edge_url.rstrip("/"))
    yield


def _ingest(
    registry: svcs.Registry, settings: Settings, store: ChunkStore, in_flight: InFlight
) -> EdgeIngest:
    recorder = Recorder(settings.recorder_url, api_key=_secret(settings.agentcache_api_key))
    recorder.start()
    registry.register_value(Recorder, recorder, on_registry_close=recorder.close)
    tokens = EdgeTokens(settings.jettythunder_signing_key.get_secret_value())
    return EdgeIngest(
        store,
        tokens,
        in_flight,
        recorder,
        stall_seconds=settings.edge_stall_seconds,
        least_bytes_per_second=settings.edge_min_bytes_per_second,
        late_seconds=settings.edge_late_seconds,
    )


def _register(
    registry: svcs.Registry, settings: Settings, database: Database, in_flight: InFlight, *, url: str
) -> None:
    registration = Registration(
        database,
        in_flight,
        edge_id=settings.edge_id,
        region=settings.edge_region,
        url=url,
        heartbeat_seconds=settings.edge_heartbeat_seconds,
    )
    registration.start()
    registry.register_value(Registration, registration, on_registry_close=registration.close)


def _secret(given: SecretStr | None) -> str | None:
    return None if given is None else given.get_secret_value()
