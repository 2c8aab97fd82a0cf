"""The load of the chaos tests beside a fail-over or a backup."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
from tests.chaos import load as chaos
from tests.chaos.load import Load
from tests.support.infrastructure import Infrastructure, Services

from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher

USERS_AT_ONCE = 4
ANSWER_SECONDS = 90.0

# Leases and retries short enough that what was cut off is cleaned up while the test looks on.
ENVIRONMENT = {**chaos.ENVIRONMENT, "USAGE_RECONCILE_SETTLE_SECONDS": "5"}


@contextlib.asynccontextmanager
async def opened_load(infrastructure: Infrastructure, services: Services) -> AsyncIterator[Load]:
    """A load on the services that can be run, and asked afterwards."""
    link = BrokerLink(infrastructure.rabbitmq_url, name="failover")
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=0)
    try:
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS, limits=limits, trust_env=False) as http:
            yield Load(
                http=http,
                publisher=Publisher(link),
                rabbitmq_url=infrastructure.rabbitmq_url,
                base_urls=[services.base_url],
                webhook_secret=services.environment["AGENTCACHE_WEBHOOK_SECRET"],
            )
    finally:
        await link.close()


@contextlib.asynccontextmanager
async def running(load: Load) -> AsyncIterator[None]:
    """The load runs during the block; its last calls are answered after it."""
    task = asyncio.create_task(load.run(users_at_once=USERS_AT_ONCE))
    try:
        yield
    finally:
        load.stop()
        await task
