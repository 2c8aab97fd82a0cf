"""The ASGI application: `uvicorn storage_gateway.main:app`."""

from storage_gateway.bootstrap import create_app

app = create_app()
