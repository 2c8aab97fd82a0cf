"""An application that needs no servers, for tests that start it as a process."""

from collections.abc import AsyncGenerator

import svcs
from fastapi import FastAPI

from jettythunder import http
from jettythunder.settings import ServiceSettings


@svcs.fastapi.lifespan
async def _lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
    yield


app = http.create_app("Served", description="", settings=ServiceSettings, lifespan=_lifespan)


@app.get("/public")
async def public() -> None:
    """Something for clients."""
