"""The ASGI application: `python -m jettythunder.http.serve storage_gateway.main:app`."""

from storage_gateway.app import create_app

app = create_app()
