"""Builds the usage-meter and closes it: backbone, storage, use-cases, schedule."""

import contextlib
from collections.abc import AsyncIterator

import aiohttp
from fastapi import FastAPI

from jettythunder.backbone import Backbone, open_backbone
from jettythunder.broker.topology import retry_queue
from jettythunder.settings import load
from jettythunder.storage import Storage
from usage_meter import consumers, webhooks
from usage_meter.messages import MESSAGES, USAGE_METER_EVENTS
from usage_meter.reconciliation import Reconciliation
from usage_meter.reports import Reports
from usage_meter.repository import (
    AccountRepository,
    LedgerRepository,
    ReconciliationRepository,
    ReportRepository,
    RollupRepository,
)
from usage_meter.rollups import Rollups
from usage_meter.scheduling import Job, Schedule
from usage_meter.service import Meter
from usage_meter.settings import Settings
from usage_meter.webhooks import Webhooks


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open everything, let events flow, and close in the right order."""
    settings = load(Settings)
    async with contextlib.AsyncExitStack() as opened:
        backbone = await opened.enter_async_context(
            open_backbone(settings, name="usage-meter", queues=MESSAGES.queues, routers=webhooks.ROUTERS)
        )
        storage = Storage(settings)
        opened.push_async_callback(storage.close)
        await storage.open()
        http = await opened.enter_async_context(aiohttp.ClientSession())
        backbone.provide(webhooks=_webhooks(settings, backbone, http))

        meter = Meter(backbone.pool, LedgerRepository(), thresholds_percent=settings.usage_thresholds_percent)
        consumer = backbone.batch_consumer(
            USAGE_METER_EVENTS,
            meter.record,
            batch_size=settings.usage_meter_batch_size,
            linger_seconds=settings.usage_meter_linger_seconds,
        )
        consumers.register(consumer)
        reconciliation = Reconciliation(
            backbone.pool,
            storage,
            meter,
            accounts=AccountRepository(),
            ledger=LedgerRepository(),
            repository=ReconciliationRepository(),
            depths=backbone.depths,
            queues=[
                USAGE_METER_EVENTS.name,
                USAGE_METER_EVENTS.dead_letter_queue,
                *map(retry_queue, settings.retry_delays_ms),
            ],
            settle_seconds=settings.usage_reconcile_settle_seconds,
        )
        schedule = Schedule(backbone.pool, _jobs(settings, backbone, meter, reconciliation))

        app.state.pings = {**backbone.pings, "consumer": consumer.ping}
        app.state.ops_token = settings.jettythunder_ops_token.get_secret_value()
        app.state.meter = meter
        app.state.reconciliation = reconciliation
        app.state.reports = Reports(
            backbone.pool, accounts=AccountRepository(), repository=ReportRepository()
        )

        await backbone.start()
        consumer.start()
        schedule.start()
        try:
            yield
        finally:
            await schedule.close()
            await consumer.close(timeout_seconds=settings.shutdown_timeout_seconds)


def _webhooks(settings: Settings, backbone: Backbone, http: aiohttp.ClientSession) -> Webhooks:
    secret = settings.agentcache_webhook_secret
    return Webhooks(
        backbone.pool,
        AccountRepository(),
        http,
        url=str(settings.agentcache_webhook_url) if settings.agentcache_webhook_url else None,
        secret=secret.get_secret_value() if secret else "",
    )


def _jobs(settings: Settings, backbone: Backbone, meter: Meter, reconciliation: Reconciliation) -> list[Job]:
    rollups = Rollups(
        backbone.pool, RollupRepository(), close_after_seconds=settings.usage_close_after_seconds
    )
    return [
        Job("roll-up", settings.usage_rollup_seconds, rollups.roll_up_recent),
        Job("roll-up-late", settings.usage_late_rollup_seconds, rollups.roll_up_all),
        Job("close-hours", settings.usage_close_seconds, rollups.close_hours),
        Job("sweep", settings.usage_sweep_seconds, meter.sweep),
        Job("begin-periods", settings.usage_sweep_seconds, meter.begin_periods),
        Job("measure-drift", settings.usage_reconcile_seconds, reconciliation.watch, at_start=False),
    ]
