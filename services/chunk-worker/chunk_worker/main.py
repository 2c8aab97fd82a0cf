"""The chunk-worker."""

from chunk_worker.bootstrap import lifespan
from chunk_worker.settings import ChunkWorkerSettings
from jettythunder.web import create_app

app = create_app(
    "JettyThunder chunk-worker",
    description="Stores chunks as parts in the object storage. Work comes by message.",
    settings=ChunkWorkerSettings,
    lifespan=lifespan,
)
