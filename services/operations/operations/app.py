"""Builds the service: the servers behind it and its use-cases."""

from collections.abc import AsyncGenerator

import svcs
from fastapi import APIRouter, FastAPI

from jettythunder import http, telemetry
from jettythunder.broker.connection import BrokerLink, declare_topology
from jettythunder.lifecycle import Periodic, open_database, open_tracing, wait_for
from operations import audit, dead_letters, events, replays
from operations.assembly import assemble
from operations.audit.routes import router as audit_routes
from operations.dead_letters.routes import router as dead_letter_routes
from operations.events.routes import router as event_routes
from operations.replays.routes import reading_router as replay_reading_routes
from operations.replays.routes import router as replay_routes
from operations.settings import Settings

_NAME = "operations"
_WATCH_SECONDS = 300.0


def create_app() -> FastAPI:
    """The service's application.

    Raises:
        SystemExit: with a sentence, if a setting is missing.
    """
    app = http.create_app(
        "JettyThunder operations",
        description="What operators do with events: find, trace and replay them, and work on dead letters.",
        settings=Settings,
        lifespan=lifespan,
        internal_paths=("/admin",),
    )
    admin = APIRouter(prefix="/admin", tags=["operations"], dependencies=http.OPERATOR_SECURITY)
    for routes in (event_routes, replay_reading_routes, replay_routes, dead_letter_routes, audit_routes):
        admin.include_router(routes)
    app.include_router(admin)
    return app


@svcs.fastapi.lifespan
async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[dict[str, object] | None, None]:
    """Open everything; the registry closes it in the opposite order."""
    settings: Settings = app.state.settings
    telemetry.configure(_NAME, settings)
    open_tracing(registry, settings, service=_NAME)
    url = settings.rabbitmq_url.get_secret_value()
    database = await open_database(registry, settings, service=_NAME)
    await wait_for("the broker (RABBITMQ_URL)", lambda: declare_topology(settings, ()))
    link = BrokerLink(url, name=f"{_NAME} publisher")
    registry.register_value(BrokerLink, link, ping=BrokerLink.ping, on_registry_close=link.close)
    operations = assemble(database, link, settings)
    registry.register_value(events.Events, operations.events)
    registry.register_value(events.Retention, operations.retention)
    registry.register_value(replays.Replays, operations.replays)
    registry.register_value(dead_letters.DeadLetters, operations.dead_letters)
    registry.register_value(audit.Audit, operations.audit)
    running = replays.RunningReplays(operations.replays)
    registry.register_value(replays.RunningReplays, running, on_registry_close=running.close)
    app.state.drain.add(running.drain)
    watching = Periodic("event-log", operations.retention.watch, interval_seconds=_WATCH_SECONDS)
    registry.register_value(Periodic, watching, on_registry_close=watching.close)
    watching.start()
    yield None
