"""The usage-meter's application."""

from jettythunder.web import create_app

from usage_meter import api
from usage_meter.bootstrap import lifespan
from usage_meter.settings import Settings

app = create_app(
    "JettyThunder usage-meter",
    description="Books what accounts store and send in a ledger, and keeps their quotas exact to the byte.",
    settings=Settings,
    lifespan=lifespan,
)
app.include_router(api.router)
