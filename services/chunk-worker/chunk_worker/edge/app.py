"""An edge that is nothing else: it has no broker, and its role in PostgreSQL has functions and no table."""

from collections.abc import AsyncGenerator

import svcs
from fastapi import FastAPI

from chunk_worker.chunks.storing import ChunkStore
from chunk_worker.edge.assembly import STREAMED_PATHS, add_edge, open_edge
from chunk_worker.messages import SOURCE
from chunk_worker.settings import EdgeProcessSettings
from jettythunder import http, telemetry
from jettythunder.chunks.store import Store
from jettythunder.lifecycle import open_database, open_tracing
from jettythunder.storage import open_storage

_NAME = "edge"


def create_app() -> FastAPI:
    """The application that a server runs."""
    app = http.create_app(
        "JettyThunder edge",
        description="Stores the chunks that clients send as parts in the object storage.",
        settings=EdgeProcessSettings,
        lifespan=lifespan,
        streamed_paths=STREAMED_PATHS,
    )
    add_edge(app)
    return app


@svcs.fastapi.lifespan
async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
    """Open everything, and close in the opposite order."""
    settings: EdgeProcessSettings = app.state.settings
    telemetry.configure(_NAME, settings)
    open_tracing(registry, settings, service=_NAME)
    database = await open_database(registry, settings, service=_NAME)
    storage = await open_storage(registry, settings, writes_only=True)
    store = ChunkStore(Store(database, source=SOURCE), storage, edge=settings.edge_id)
    open_edge(app.state.drain, registry, settings, database, store, url=settings.edge_url)
    yield
