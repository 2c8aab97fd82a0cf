"""What makes a process an edge: its routes, what they need, and its row in the list of edges."""

import svcs
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.middleware.cors import CORSMiddleware

from chunk_worker.chunks.storing import ChunkStore
from chunk_worker.edge.ingest import EdgeIngest
from chunk_worker.edge.model import InFlight
from chunk_worker.edge.recorder import Recorder
from chunk_worker.edge.registration import Registration
from chunk_worker.edge.routes import router
from chunk_worker.settings import EdgeSettings
from jettythunder.chunks.attempts import Attempts
from jettythunder.database import Database
from jettythunder.drain import Drain
from jettythunder.signatures import VerifyingKeys
from jettythunder.slots import Slots

STREAMED_PATHS = ("/edge/uploads/",)


def add_edge(app: FastAPI) -> None:
    """Let an application take chunks from clients."""
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


def open_edge(
    drain: Drain,
    registry: svcs.Registry,
    settings: EdgeSettings,
    database: Database,
    store: ChunkStore,
    *,
    url: str,
) -> None:
    """Open what the routes need, and list the edge under its address."""
    recorder = Recorder(settings.recorder_url, api_key=_secret(settings.agentcache_api_key))
    recorder.start()
    registry.register_value(Recorder, recorder, on_registry_close=recorder.close)
    in_flight = InFlight(
        settings.edge_budget_bytes,
        Slots(settings.edge_chunks, per_holder=settings.edge_chunks_per_account),
    )
    ingest = EdgeIngest(
        store,
        VerifyingKeys.parse(settings.jettythunder_verifying_keys),
        in_flight,
        Attempts(settings.edge_chunk_attempts),
        recorder,
        stall_seconds=settings.edge_stall_seconds,
        least_bytes_per_second=settings.edge_min_bytes_per_second,
        late_seconds=settings.edge_late_seconds,
    )
    registry.register_value(EdgeIngest, ingest)
    registration = Registration(
        database,
        in_flight,
        edge_id=settings.edge_id,
        region=settings.edge_region,
        url=url.rstrip("/"),
        heartbeat_seconds=settings.edge_heartbeat_seconds,
    )
    registration.start()
    registry.register_value(Registration, registration, on_registry_close=registration.close)

    async def leave() -> None:
        # Off the list first: no client is sent here any more while the last chunks arrive.
        await registration.close()
        await ingest.drain()

    drain.add(leave)


def _secret(given: SecretStr | None) -> str | None:
    return None if given is None else given.get_secret_value()
