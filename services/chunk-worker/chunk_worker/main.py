"""The chunk-worker."""

from starlette.middleware.cors import CORSMiddleware

from chunk_worker.api import router
from chunk_worker.bootstrap import lifespan
from chunk_worker.settings import ChunkWorkerSettings
from jettythunder.web import create_app

app = create_app(
    "JettyThunder chunk-worker",
    description="Stores chunks as parts in the object storage: those that gateways hold, as commanded,"
    " and those that clients send to this edge.",
    settings=ChunkWorkerSettings,
    lifespan=lifespan,
)
app.include_router(router)
# Any origin may: no cookie admits anyone, a chunk's token does.
app.add_middleware(
    CORSMiddleware,
    allow_origins=["*"],
    allow_methods=["PUT", "GET"],
    allow_headers=["Authorization", "Content-MD5", "Content-Type", "X-Correlation-ID"],
    expose_headers=["Retry-After", "X-Correlation-ID"],
    max_age=7200,
)
