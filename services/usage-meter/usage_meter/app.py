"""Builds the usage-meter: what it opens, its use-cases, its consumers and its schedule."""

import functools
from collections.abc import AsyncGenerator

import aiohttp
import svcs
import svcs.fastapi
from fastapi import FastAPI

from jettythunder import http, telemetry
from jettythunder.broker.service import Messaging, open_messaging
from jettythunder.broker.topology import retry_queue
from jettythunder.database import Database
from jettythunder.lifecycle import Periodic, open_database, open_tracing, role_of, wait_for
from jettythunder.storage import Storage, open_storage
from usage_meter.accounts.store import AccountStore
from usage_meter.ledger import routes as ledger_routes
from usage_meter.ledger.adjust import Adjustments
from usage_meter.ledger.backlog import Backlog
from usage_meter.ledger.book import Ledger
from usage_meter.ledger.events import PARSERS
from usage_meter.ledger.periods import Periods
from usage_meter.ledger.store import LedgerStore
from usage_meter.ledger.sweep import Sweep
from usage_meter.messages import MESSAGES, SERVICE, USAGE_METER_EVENTS
from usage_meter.rebuilding import routes as rebuilding_routes
from usage_meter.rebuilding.rebuild import Rebuilding
from usage_meter.rebuilding.store import RebuildingStore
from usage_meter.reconciliation import routes as reconciliation_routes
from usage_meter.reconciliation.look import Looking
from usage_meter.reconciliation.mend import Mending
from usage_meter.reconciliation.queue import ReconciliationQueue
from usage_meter.reconciliation.reconcile import Reconciliation
from usage_meter.reconciliation.store import ReconciliationStore
from usage_meter.reconciliation.watch import Watching
from usage_meter.reports import routes as reports_routes
from usage_meter.reports.prices import Prices
from usage_meter.reports.quotas import Quotas
from usage_meter.reports.store import ReportStore
from usage_meter.reports.usage import UsageReport
from usage_meter.rollups.close import Closing
from usage_meter.rollups.roll_up import Rollups
from usage_meter.rollups.store import RollupStore
from usage_meter.scheduling.metering import Metering, periodic
from usage_meter.scheduling.partitions import Partitions
from usage_meter.settings import Settings
from usage_meter.webhooks.handlers import ROUTERS
from usage_meter.webhooks.send import Webhooks

_REPORT_CONNECTIONS = 3
_REPORT_ACQUIRE_SECONDS = 30.0
_KEEP_USAGE_SECONDS = 3600.0
_SHOW_DRIFT_SECONDS = 15.0
_DAY_SECONDS = 86_400


def create_app() -> FastAPI:
    """The application, with its settings read."""
    app = http.create_app(
        "JettyThunder usage-meter",
        description="Books what accounts store and send, and keeps their quotas exact to the byte.",
        settings=Settings,
        lifespan=lifespan,
        internal_paths=("/usage",),
    )
    for routes in (ledger_routes, reports_routes, reconciliation_routes, rebuilding_routes):
        app.include_router(routes.router)
    return app


@svcs.fastapi.lifespan
async def lifespan(app: FastAPI, registry: svcs.Registry) -> AsyncGenerator[None, None]:
    """Open everything, let events flow, and have it closed in the opposite order."""
    settings: Settings = app.state.settings
    telemetry.configure(SERVICE, settings)
    open_tracing(registry, settings, service=SERVICE)
    database = await open_database(registry, settings, service=SERVICE)
    storage = await open_storage(registry, settings)
    await _open_reports(registry, settings, database)
    webhooks = _open_webhooks(registry, settings, database)
    messaging = await open_messaging(
        registry,
        settings,
        database,
        messages=MESSAGES,
        routers=ROUTERS,
        context={"webhooks": webhooks},
    )
    metering = _open_metering(registry, settings, database, storage, messaging)
    await messaging.start()
    metering.start()
    app.state.drain.add(messaging.drain)
    app.state.drain.add(metering.drain)
    yield


async def _open_reports(registry: svcs.Registry, settings: Settings, database: Database) -> None:
    """Open what reads for reports, over connections of its own: no reader keeps events from being booked."""
    reading = Database(
        str(settings.database_url),
        name=f"{SERVICE} reports",
        role=role_of(SERVICE),
        size=_REPORT_CONNECTIONS,
        acquire_seconds=_REPORT_ACQUIRE_SECONDS,
    )
    await wait_for("the database (DATABASE_URL)", reading.open)
    accounts, store = AccountStore(), ReportStore()
    usage = UsageReport(reading, accounts, store)
    registry.register_value(UsageReport, usage, on_registry_close=reading.close)
    registry.register_value(Quotas, Quotas(reading, accounts, store))
    registry.register_value(Prices, Prices(database, store, RollupStore()))
    rebuilding = Rebuilding(reading, RebuildingStore(), rabbitmq_url=settings.rabbitmq_url.get_secret_value())
    registry.register_value(Rebuilding, rebuilding)


def _open_webhooks(registry: svcs.Registry, settings: Settings, database: Database) -> Webhooks:
    session = aiohttp.ClientSession()
    registry.register_value(aiohttp.ClientSession, session, on_registry_close=session.close)
    url = settings.agentcache_webhook_url
    return Webhooks(
        database,
        AccountStore(),
        session,
        url=str(url) if url is not None else None,
        keys=settings.webhook_keys,
    )


def _open_metering(
    registry: svcs.Registry,
    settings: Settings,
    database: Database,
    storage: Storage,
    messaging: Messaging,
) -> Metering:
    """Open the consumer that books, and the work on a schedule."""
    store = LedgerStore()
    ledger = Ledger(database, store, thresholds_percent=settings.usage_thresholds_percent)
    consumer = messaging.batch_consumer(
        USAGE_METER_EVENTS,
        ledger.record,
        batch_size=settings.usage_meter_batch_size,
        linger_seconds=settings.usage_meter_linger_seconds,
    )
    for payload, parse in PARSERS.items():
        consumer.on(payload, parse)
    backlog = Backlog(
        store,
        depths=messaging.queue_depths,
        queues=[
            USAGE_METER_EVENTS.name,
            USAGE_METER_EVENTS.dead_letter_queue,
            *map(retry_queue, settings.retry_delays_ms),
        ],
        unapplied=lambda: consumer.unapplied,
        newest_booked_at=lambda: ledger.newest_booked_at,
    )
    adjustments = Adjustments(database, store, ledger)
    registry.register_value(Adjustments, adjustments)
    reconciliation, watching = _reconciliation(
        settings, database, storage, store=store, ledger=ledger, adjustments=adjustments, backlog=backlog
    )
    registry.register_value(Reconciliation, reconciliation)
    rollups = Rollups(database, RollupStore())
    closing = Closing(
        database, RollupStore(), ReconciliationQueue(), after_seconds=settings.usage_close_after_seconds
    )
    sweep = Sweep(database, store, ledger, backlog)
    periods = Periods(database, store, ledger)
    work = functools.partial(periodic, is_behind=lambda: consumer.is_behind)
    metering = Metering(
        consumer,
        [
            Periodic("keep-usage", Partitions(database).run, interval_seconds=_KEEP_USAGE_SECONDS),
            work("roll-up", rollups.roll_up_recent, interval_seconds=settings.usage_rollup_seconds),
            work("roll-up-late", rollups.roll_up_all, interval_seconds=settings.usage_late_rollup_seconds),
            work("close-hours", closing.run, interval_seconds=settings.usage_close_seconds),
            work("sweep", sweep.run, interval_seconds=settings.usage_sweep_seconds),
            work("begin-periods", periods.run, interval_seconds=settings.usage_sweep_seconds),
            Periodic("measure-drift", watching.run, interval_seconds=settings.usage_reconcile_seconds),
            Periodic("show-drift", watching.show, interval_seconds=_SHOW_DRIFT_SECONDS),
        ],
        close_seconds=settings.drain_seconds,
    )
    registry.register_value(Metering, metering, ping=Metering.ping, on_registry_close=metering.close)
    return metering


def _reconciliation(
    settings: Settings,
    database: Database,
    storage: Storage,
    *,
    store: LedgerStore,
    ledger: Ledger,
    adjustments: Adjustments,
    backlog: Backlog,
) -> tuple[Reconciliation, Watching]:
    """Reconciliation for operators, and its scheduled run."""
    accounts, reconciled, queue = AccountStore(), ReconciliationStore(), ReconciliationQueue()
    settle_seconds = settings.usage_reconcile_settle_seconds
    looking = Looking(
        database, storage, accounts=accounts, store=reconciled, queue=queue, settle_seconds=settle_seconds
    )
    mending = Mending(
        database,
        bucket=storage.bucket,
        store=reconciled,
        ledger_store=store,
        rollup_store=RollupStore(),
        ledger=ledger,
        adjustments=adjustments,
        backlog=backlog,
    )
    reconciliation = Reconciliation(
        database, accounts, looking=looking, mending=mending, queue=queue, settle_seconds=settle_seconds
    )
    watching = Watching(
        database,
        accounts,
        looking=looking,
        queue=queue,
        ping_storage=storage.ping,
        interval_seconds=settings.usage_reconcile_seconds,
        round_seconds=settings.usage_reconcile_all_days * _DAY_SECONDS,
    )
    return reconciliation, watching
