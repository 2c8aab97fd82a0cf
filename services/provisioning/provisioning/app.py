"""The service: what it opens, in which order, and its HTTP side."""

from collections.abc import AsyncGenerator
from typing import Any

import svcs
from fastapi import FastAPI

from jettythunder import http, telemetry
from jettythunder.broker.service import open_messaging
from jettythunder.lifecycle import open_database, wait_for
from jettythunder.storage import Storage, open_storage
from provisioning.accounts import handlers
from provisioning.accounts.change_tier import ChangeTier
from provisioning.accounts.credentials import MasterKey
from provisioning.accounts.folder import Folders
from provisioning.accounts.provision import ProvisionAccount
from provisioning.accounts.rotate import RotateCredentials
from provisioning.accounts.store import Store
from provisioning.accounts.suspend import SuspendAccount
from provisioning.messages import MESSAGES
from provisioning.settings import Settings

log = telemetry.logger(__name__)

_NAME = "provisioning"
_PROBE_PREFIX = "system/provisioning/"


def create_app() -> FastAPI:
    """The application that a server runs."""
    return http.create_app(
        "JettyThunder provisioning",
        description="Makes the accounts of AgentCache users. Work arrives by message, HTTP is for operators.",
        settings=Settings,
        lifespan=lifespan,
    )


@svcs.fastapi.lifespan
async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
    """Open everything, let messages flow, and close in the opposite order."""
    settings: Settings = app.state.settings
    telemetry.configure(_NAME, settings)
    database = await open_database(registry, settings, service=_NAME)
    storage = await _open_bucket(registry, settings)
    store = Store(database)
    master_key = MasterKey(
        settings.jettythunder_master_key.get_secret_value(), environment=settings.jettythunder_environment
    )
    await wait_for("the database (DATABASE_URL)", lambda: _check_master_key(store, master_key))
    messaging = await open_messaging(
        registry,
        settings,
        database,
        messages=MESSAGES,
        routers=handlers.ROUTERS,
        context=_use_cases(store, storage, master_key),
    )
    await messaging.start()
    yield


async def _open_bucket(registry: svcs.Registry, settings: Settings) -> Storage:
    storage = await open_storage(registry, settings)
    await wait_for("the object storage (LYVE_ENDPOINT)", lambda: _prepare(storage))
    return storage


async def _prepare(storage: Storage) -> None:
    await storage.ensure_bucket()
    found = await storage.probe(_PROBE_PREFIX)
    log.info(
        "object storage ready",
        bucket=storage.bucket,
        conditional_writes=found.conditional_writes,
        expire_incomplete_uploads=found.expire_incomplete_uploads,
    )


async def _check_master_key(store: Store, master_key: MasterKey) -> None:
    """Refuse to run with a master key that the stored credentials were not derived from."""
    newest = await store.newest_account()
    if newest is not None:
        master_key.credentials_of(newest)


def _use_cases(store: Store, storage: Storage, master_key: MasterKey) -> dict[str, Any]:
    """What handlers ask for, by name."""
    return {
        "provision_account": ProvisionAccount(store, Folders(storage), master_key, s3_bucket=storage.bucket),
        "change_tier": ChangeTier(store, master_key),
        "rotate_credentials": RotateCredentials(store, master_key),
        "suspend_account": SuspendAccount(store, master_key),
    }
