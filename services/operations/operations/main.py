"""The operations service."""

from operations.app import create_app

app = create_app()
