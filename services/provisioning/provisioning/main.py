"""The provisioning service."""

from provisioning.app import create_app

app = create_app()
