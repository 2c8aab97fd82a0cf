"""Builds the service: the servers behind it, its use-cases and its consumers."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from jettythunder import telemetry
from jettythunder.backbone import open_backbone, patiently
from jettythunder.operations.api import OperationsDoor
from jettythunder.storage import Storage
from provisioning import consumers
from provisioning.messages import MESSAGES
from provisioning.repository import Repository
from provisioning.service import Provisioning
from provisioning.settings import Settings

log = telemetry.logger(__name__)

_NAME = "provisioning"
_PROBE_PREFIX = "system/provisioning/"


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open everything, let messages flow, and close in the opposite order."""
    settings: Settings = app.state.settings
    storage = Storage(settings)
    async with contextlib.AsyncExitStack() as stack:
        # Opened before the backbone, so that handlers that finish while it closes still have it.
        await storage.open()
        stack.push_async_callback(storage.close)
        backbone = await stack.enter_async_context(
            open_backbone(settings, name=_NAME, queues=MESSAGES.queues, routers=consumers.ROUTERS)
        )
        await patiently("the object storage (LYVE_ENDPOINT)", lambda: _prepare(storage))
        service = Provisioning(
            backbone.pool,
            Repository(),
            storage,
            master_key=settings.jettythunder_master_key.get_secret_value(),
            environment=settings.jettythunder_environment,
        )
        await patiently("the database (DATABASE_URL)", service.check_master_key)
        operations = OperationsDoor(backbone.pool, settings.rabbitmq_url.get_secret_value())
        stack.push_async_callback(operations.close)
        backbone.provide(accounts=service)
        await backbone.start()
        app.state.pings = {**backbone.pings, "storage": storage.ping}
        app.state.ops_token = settings.jettythunder_ops_token.get_secret_value()
        app.state.operations = operations
        yield


async def _prepare(storage: Storage) -> None:
    await storage.ensure_bucket()
    found = await storage.probe(_PROBE_PREFIX)
    log.info(
        "object storage ready",
        bucket=storage.bucket,
        conditional_writes=found.conditional_writes,
        expire_incomplete_uploads=found.expire_incomplete_uploads,
    )
