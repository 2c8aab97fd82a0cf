"""The usage-meter's application."""

from usage_meter.app import create_app

app = create_app()
