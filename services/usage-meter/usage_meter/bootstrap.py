"""Builds the usage-meter and closes it: backbone, batcher, use-cases, schedule."""

import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from jettythunder.backbone import open_backbone
from jettythunder.topology import USAGE_METER_EVENTS
from usage_meter import consumers
from usage_meter.repository import LedgerRepository, RollupRepository
from usage_meter.rollups import Rollups
from usage_meter.scheduling import Job, Schedule
from usage_meter.service import Meter
from usage_meter.settings import Settings


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open everything, let events flow, and close in the right order."""
    settings: Settings = app.state.settings
    async with open_backbone(settings, name="usage-meter") as backbone:
        meter = Meter(backbone.pool, LedgerRepository(), thresholds_percent=settings.usage_thresholds_percent)
        rollups = Rollups(
            backbone.pool, RollupRepository(), close_after_seconds=settings.usage_close_after_seconds
        )
        consumer = backbone.batch_consumer(
            USAGE_METER_EVENTS,
            meter.record,
            batch_size=settings.usage_meter_batch_size,
            linger_seconds=settings.usage_meter_linger_seconds,
        )
        consumers.register(consumer)
        schedule = Schedule(
            backbone.pool,
            [
                Job("roll-up", settings.usage_rollup_seconds, rollups.roll_up_recent),
                Job("roll-up-late", settings.usage_late_rollup_seconds, rollups.roll_up_all),
                Job("close-hours", settings.usage_close_seconds, rollups.close_hours),
                Job("sweep", settings.usage_sweep_seconds, meter.sweep),
            ],
        )
        app.state.pings = {**backbone.pings, "consumer": consumer.ping}
        app.state.ops_token = settings.jettythunder_ops_token.get_secret_value()
        await backbone.start()
        consumer.start()
        schedule.start()
        try:
            yield
        finally:
            await schedule.close()
            await consumer.close(timeout_seconds=settings.shutdown_timeout_seconds)
