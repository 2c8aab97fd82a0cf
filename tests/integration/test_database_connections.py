"""Connections are used again, and replaced where something has happened to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio
from tests.support.infrastructure import Infrastructure
from tests.support.waiting import eventually

from jettythunder.database import Database, Statement
from jettythunder.errors import DatabaseConflict, DatabaseUnavailable

PID = Statement("tests", "pid", "SELECT pg_backend_pid()", (), publishes=False)
WAIT = Statement("tests", "wait", "SELECT pg_advisory_xact_lock(42), pg_backend_pid()", (), publishes=False)
FAIL = Statement(
    "tests", "fail", "INSERT INTO tier_configs SELECT * FROM tier_configs LIMIT 1", (), publishes=False
)


@pytest_asyncio.fixture
async def database(infrastructure: Infrastructure) -> AsyncIterator[Database]:
    opened = Database(infrastructure.database_url, name="connections", size=1, acquire_seconds=30)
    await opened.open()
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def other(infrastructure: Infrastructure) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection of somebody else."""
    opened = await asyncpg.connect(infrastructure.database_url)
    yield opened
    await opened.close()


async def pid_of(database: Database) -> int:
    [row] = await database.fetch(PID, [])
    return int(row[0])


async def pid_once_ended(database: Database) -> int | None:
    """As `pid_of`; None where a statement came between the server's last message and the connection's end."""
    with contextlib.suppress(DatabaseUnavailable):
        return await pid_of(database)
    return None


async def begin_to_wait(
    database: Database, other: asyncpg.Connection[asyncpg.Record]
) -> asyncio.Task[list[asyncpg.Record]]:
    """A statement that waits for a lock of the other connection's."""
    await other.execute("SELECT pg_advisory_lock(42)")
    waiting = asyncio.create_task(database.fetch(WAIT, []))
    await eventually(
        lambda: other.fetchval(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 42 AND NOT granted)"
        )
    )
    return waiting


async def test_a_connection_is_used_again(database: Database) -> None:
    pid = await pid_of(database)
    async with database.transaction() as connection:
        [row] = await connection.fetch(PID, [])
    assert (row[0], await pid_of(database)) == (pid, pid)


async def test_one_that_the_server_has_ended_is_replaced(
    database: Database, other: asyncpg.Connection[asyncpg.Record]
) -> None:
    pid = await pid_of(database)
    await other.execute("SELECT pg_terminate_backend($1)", pid)
    is_gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"
    await eventually(lambda: other.fetchval(is_gone, pid))
    assert await eventually(lambda: pid_once_ended(database)) != pid


async def test_forgotten_ones_are_replaced_after_the_statement_that_uses_them_too(
    database: Database, other: asyncpg.Connection[asyncpg.Record]
) -> None:
    first = await pid_of(database)
    database.forget_connections()
    second = await pid_of(database)
    waiting = await begin_to_wait(database, other)
    database.forget_connections()
    await other.execute("SELECT pg_advisory_unlock(42)")
    [row] = await waiting
    assert (row[1], second != first, await pid_of(database) != second) == (second, True, True)


async def test_one_is_good_after_a_statement_that_failed_or_was_given_up(
    database: Database, other: asyncpg.Connection[asyncpg.Record]
) -> None:
    pid = await pid_of(database)
    with pytest.raises(DatabaseConflict):
        await database.fetch(FAIL, [])
    waiting = await begin_to_wait(database, other)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await pid_of(database) == pid
    await other.execute("SELECT pg_advisory_unlock(42)")


async def test_closing_lets_a_statement_end(
    infrastructure: Infrastructure, other: asyncpg.Connection[asyncpg.Record]
) -> None:
    database = Database(infrastructure.database_url, name="connections", size=2)
    await database.open()
    await pid_of(database)
    waiting = await begin_to_wait(database, other)
    # The lock is given up once closing has begun.
    await asyncio.gather(database.close(), other.execute("SELECT pg_advisory_unlock(42)"))
    assert await waiting
    names = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'connections'"
    await eventually(lambda: other.fetchval(f"SELECT ({names}) = 0"))
