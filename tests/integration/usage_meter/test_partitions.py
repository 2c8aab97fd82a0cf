"""The partition of a month that has begun, made while somebody books: at the first start, above all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio
from tests.support.infrastructure import Infrastructure
from tests.support.waiting import eventually

from jettythunder_migrations import migrate

from .conftest import Pool, Tenants, Wire


@pytest_asyncio.fixture
async def new_database(servers: Infrastructure) -> AsyncIterator[Pool]:
    """A database whose ledger has no month's partition yet."""
    with servers.empty_database() as url:
        migrate(url)
        async with asyncpg.create_pool(url, min_size=1, max_size=4) as opened:
            yield opened


async def test_what_comes_while_its_month_gets_a_partition_is_booked(new_database: Pool, wire: Wire) -> None:
    tenant = await Tenants(new_database, wire).new()

    async def waits_for_a_lock() -> bool:
        return bool(
            await new_database.fetchval(
                "SELECT EXISTS (SELECT FROM pg_locks JOIN pg_database d ON d.oid = database"
                " WHERE NOT granted AND d.datname = current_database())"
            )
        )

    async with new_database.acquire() as connection:
        async with connection.transaction():
            await connection.execute("SELECT keep_usage_v1()")
            reserving = asyncio.create_task(tenant.reserve(1_000))
            await eventually(waits_for_a_lock)
        assert await reserving is not None
    await tenant.proves_its_counters()
