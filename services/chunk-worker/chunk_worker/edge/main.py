"""An edge that is nothing else than one."""

from chunk_worker.edge.app import create_app

app = create_app()
