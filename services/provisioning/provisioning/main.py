"""The provisioning service."""

from jettythunder.operations.api import router as operations
from jettythunder.web import create_app
from provisioning.bootstrap import lifespan
from provisioning.settings import Settings

app = create_app(
    "JettyThunder provisioning",
    description="Makes the accounts of AgentCache users. Work comes by message; HTTP is for operation only.",
    settings=Settings,
    lifespan=lifespan,
)
app.include_router(operations)
