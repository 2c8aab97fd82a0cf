"""The chunk-worker."""

from chunk_worker.app import create_app

app = create_app()
