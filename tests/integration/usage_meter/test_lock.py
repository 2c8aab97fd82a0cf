"""The lock of work that one instance does at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest_asyncio
from tests.support.infrastructure import Infrastructure

from jettythunder.database import Database
from jettythunder.lifecycle import role_of
from usage_meter.scheduling.lock import WorkLock

NAME = "the lock's test"


@pytest_asyncio.fixture
async def database(servers: Infrastructure) -> AsyncIterator[Database]:
    opened = Database(servers.database_url, name=NAME, role=role_of("usage-meter"), size=2)
    await opened.open()
    yield opened
    await opened.close()


async def test_long_work_keeps_no_old_rows_from_being_removed(
    servers: Infrastructure, database: Database
) -> None:
    other = await asyncpg.connect(servers.database_url)
    async with WorkLock(database, "test").hold() as is_held:
        holders = await other.fetch(
            "SELECT backend_xmin, backend_xid FROM pg_stat_activity"
            " WHERE application_name = $1 AND state = 'idle in transaction'",
            NAME,
        )
    await other.close()
    assert (is_held, [tuple(holder) for holder in holders]) == (True, [(None, None)])


async def test_one_has_it_at_a_time(database: Database) -> None:
    one, other = WorkLock(database, "test"), WorkLock(database, "test")
    async with one.hold() as first, other.hold() as second:
        assert (first, second) == (True, False)
    async with other.hold() as is_held:
        assert is_held
