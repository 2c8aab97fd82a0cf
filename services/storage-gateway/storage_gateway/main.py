"""The gateway's application: `jettythunder serve storage-gateway`."""

from storage_gateway.app import create_app

app = create_app()
