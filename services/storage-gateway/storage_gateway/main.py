"""The ASGI application: `uvicorn storage_gateway.main:app`."""

from storage_gateway.app import create_app

app = create_app()
