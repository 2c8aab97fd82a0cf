"""The service: what it opens, in which order, and its HTTP side."""

from collections.abc import AsyncGenerator
from typing import Any

import svcs
from fastapi import FastAPI

from jettythunder import http, telemetry
from jettythunder.broker.service import open_messaging
from jettythunder.lifecycle import open_database, open_tracing, wait_for
from jettythunder.storage import Storage, open_storage
from provisioning.accounts import handlers, routes
from provisioning.accounts.change_tier import ChangeTier
from provisioning.accounts.credentials import MasterKeys
from provisioning.accounts.folder import Folders
from provisioning.accounts.master_keys import MasterKeyRing, MoveAccounts, check_master_keys
from provisioning.accounts.provision import ProvisionAccount
from provisioning.accounts.rotate import RotateCredentials
from provisioning.accounts.store import Store
from provisioning.accounts.suspend import SuspendAccount
from provisioning.messages import MESSAGES
from provisioning.settings import Settings

log = telemetry.logger(__name__)

_NAME = "provisioning"


def create_app() -> FastAPI:
    """The application that a server runs."""
    app = http.create_app(
        "JettyThunder provisioning",
        description="Makes the accounts of AgentCache users. Work arrives by message, HTTP is for operators.",
        settings=Settings,
        lifespan=lifespan,
        internal_paths=("/keys",),
    )
    app.include_router(routes.router)
    return app


@svcs.fastapi.lifespan
async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
    """Open everything, let messages flow, and close in the opposite order."""
    settings: Settings = app.state.settings
    telemetry.configure(_NAME, settings)
    open_tracing(registry, settings, service=_NAME)
    database = await open_database(registry, settings, service=_NAME)
    storage = await _open_bucket(registry, settings)
    store = Store(database)
    master_keys = MasterKeys(settings.master_keys, environment=settings.jettythunder_environment)
    await wait_for("the database (DATABASE_URL)", lambda: check_master_keys(store, master_keys))
    registry.register_value(MasterKeyRing, MasterKeyRing(store, master_keys))
    registry.register_value(MoveAccounts, MoveAccounts(store, master_keys))
    messaging = await open_messaging(
        registry,
        settings,
        database,
        messages=MESSAGES,
        routers=handlers.ROUTERS,
        context=_use_cases(store, storage, master_keys),
    )
    await messaging.start()
    app.state.drain.add(messaging.drain)
    yield


async def _open_bucket(registry: svcs.Registry, settings: Settings) -> Storage:
    storage = await open_storage(registry, settings)
    await wait_for("the object storage (LYVE_ENDPOINT)", lambda: _prepare(storage))
    return storage


async def _prepare(storage: Storage) -> None:
    await storage.ensure_bucket()
    log.info(
        "object storage ready",
        bucket=storage.bucket,
        expire_incomplete_uploads=await storage.expire_incomplete_uploads(),
    )


def _use_cases(store: Store, storage: Storage, master_keys: MasterKeys) -> dict[str, Any]:
    """What handlers ask for, by name."""
    return {
        "provision_account": ProvisionAccount(store, Folders(storage), master_keys, s3_bucket=storage.bucket),
        "change_tier": ChangeTier(store, master_keys),
        "rotate_credentials": RotateCredentials(store, master_keys),
        "suspend_account": SuspendAccount(store, master_keys),
    }
