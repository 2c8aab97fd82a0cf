"""Hours: those that can't be computed or closed yet keep no others waiting."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import pytest
import pytest_asyncio
from tests.support.infrastructure import Infrastructure
from tests.support.waiting import eventually

from jettythunder.database import Database
from jettythunder.errors import InvalidField
from jettythunder.lifecycle import Periodic, role_of
from jettythunder_migrations import migrate
from usage_meter.reconciliation.queue import ReconciliationQueue
from usage_meter.rollups.close import Closing
from usage_meter.rollups.roll_up import Rollups
from usage_meter.rollups.store import RollupStore

from .conftest import Pool, Tenant, Tenants, Wire

# More than one run looks at.
WAITING_HOURS = 5_200
# Two of them are more than an hour's row can hold.
MOST_BYTES = 2**63 - 1


@pytest_asyncio.fixture
async def new_database(servers: Infrastructure) -> AsyncIterator[str]:
    with servers.empty_database() as url:
        migrate(url)
        yield url


@pytest_asyncio.fixture
async def pool(new_database: str) -> AsyncIterator[Pool]:
    async with asyncpg.create_pool(new_database, min_size=1, max_size=2) as opened:
        yield opened


@pytest_asyncio.fixture
async def database(new_database: str) -> AsyncIterator[Database]:
    opened = Database(new_database, name="hours", role=role_of("usage-meter"), size=2)
    await opened.open()
    yield opened
    await opened.close()


async def add_hours(tenant: Tenant, *, hours_ago: int, count: int) -> None:
    """So many hours with activity, one after the other."""
    await tenant.pool.execute(
        "INSERT INTO storage_usage (account_id, period_start, period_end, storage_bytes)"
        " SELECT $1, hour, hour + interval '1 hour', 0 FROM ("
        "   SELECT date_trunc('hour', now(), 'UTC') - interval '1 hour' * ($2::int - n) AS hour"
        "   FROM generate_series(0, $3::int - 1) AS n) AS hours",
        tenant.id,
        hours_ago,
        count,
    )


async def open_hours(tenant: Tenant) -> int:
    query = "SELECT count(*) FROM storage_usage WHERE account_id = $1 AND closed_at IS NULL"
    return int(await tenant.pool.fetchval(query, tenant.id))


async def test_hours_that_wait_for_the_roll_up_keep_no_others_open(
    database: Database, pool: Pool, wire: Wire
) -> None:
    closing = Closing(database, RollupStore(), ReconciliationQueue(), after_seconds=300)
    waiting, done = [await Tenants(pool, wire).new() for _ in range(2)]
    await add_hours(waiting, hours_ago=WAITING_HOURS + 10, count=WAITING_HOURS)
    await add_hours(done, hours_ago=5, count=1)
    await pool.execute(
        "INSERT INTO usage_rollup_queue (account_id, hour)"
        " SELECT account_id, min(period_start) FROM storage_usage WHERE account_id = $1 GROUP BY account_id",
        waiting.id,
    )
    for _ in range(2):
        await closing.run()
    assert (await open_hours(waiting), await open_hours(done)) == (WAITING_HOURS, 0)

    await pool.execute("DELETE FROM usage_rollup_queue")
    for _ in range(2):
        await closing.run()
    assert await open_hours(waiting) == 0


async def add_entry(tenant: Tenant, size_bytes: int, *, hours_ago: int = 0) -> None:
    """An entry, which its hour's row is behind of."""
    await tenant.pool.execute(
        "WITH added AS (INSERT INTO usage_ledger (account_id, resource, kind, used_delta_bytes,"
        "   reserved_delta_bytes, request_count, source_event_id, occurred_at)"
        " VALUES ($1, 'bandwidth', 'settled', $2, 0, 1, gen_random_uuid(), now() - $3 * interval '1 hour')"
        " RETURNING account_id, occurred_at)"
        " INSERT INTO usage_rollup_queue (account_id, hour)"
        " SELECT account_id, date_trunc('hour', occurred_at, 'UTC') FROM added",
        tenant.id,
        size_bytes,
        hours_ago,
    )


async def bytes_of(tenant: Tenant) -> int | None:
    query = "SELECT sum(bandwidth_bytes) FROM storage_usage WHERE account_id = $1"
    found: int | None = await tenant.pool.fetchval(query, tenant.id)
    return found


@pytest.mark.parametrize("recent", [False, True])
async def test_an_account_whose_rows_can_t_be_computed_keeps_no_others_waiting(
    database: Database, pool: Pool, wire: Wire, recent: bool
) -> None:
    rollups = Rollups(database, RollupStore())
    broken, *others = [await Tenants(pool, wire).new() for _ in range(4)]
    for _ in range(2):
        await add_entry(broken, MOST_BYTES, hours_ago=1)
    for tenant in others:
        await add_entry(tenant, 7)
    for _ in range(10):
        with suppress(InvalidField):
            await (rollups.roll_up_recent() if recent else rollups.roll_up_all())
    assert [await bytes_of(tenant) for tenant in (broken, *others)] == [None, 7, 7, 7]
    assert await RollupStore().backlog(database) == 2


async def test_a_roll_up_ends_while_the_database_does_not_answer(
    new_database: str, pool: Pool, wire: Wire
) -> None:
    opened = Database(new_database, name="hours", role=role_of("usage-meter"), size=2, statement_seconds=0.5)
    await opened.open()
    periodic = Periodic("test", Rollups(opened, RollupStore()).roll_up_all, interval_seconds=1)
    async with pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE usage_rollup_queue IN ACCESS EXCLUSIVE MODE")
        periodic.start()
        is_waiting = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
        await eventually(lambda: pool.fetchval(is_waiting))
        await periodic.close()
    await opened.close()
