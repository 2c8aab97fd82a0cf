"""Servers that run and refuse: a full disk, a read-only database, a broker that takes nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import asyncpg
from tests.support.infrastructure import Infrastructure

Disturbance = Callable[[Infrastructure], AbstractAsyncContextManager[None]]

_REFUSE = """
    CREATE FUNCTION refuse_as_if_full() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$
"""
_END_CONNECTIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'"


@contextlib.asynccontextmanager
async def disk_full(infrastructure: Infrastructure) -> AsyncIterator[None]:
    """Every INSERT fails as it does where PostgreSQL's disk is full; reading goes on.

    A disk that is really full ends the server at its next checkpoint, which is the kill of PostgreSQL.
    """
    async with _connected(infrastructure) as sql:
        tables = [row["tablename"] for row in await sql.fetch(_TABLES)]
        await sql.execute(_REFUSE)
        try:
            for table in tables:
                trigger = f'CREATE TRIGGER as_if_full BEFORE INSERT ON "{table}"'
                await sql.execute(f"{trigger} EXECUTE FUNCTION refuse_as_if_full()")
            yield
        finally:
            await sql.execute("DROP FUNCTION refuse_as_if_full CASCADE")


@contextlib.asynccontextmanager
async def read_only(infrastructure: Infrastructure) -> AsyncIterator[None]:
    """The database takes no writes, as where connections lead to a primary that was demoted.

    Connections that were made meanwhile stay read-only: services must replace them.
    """
    async with _connected(infrastructure) as sql:
        database = infrastructure.database_url.rpartition("/")[2]
        await sql.execute(f'ALTER DATABASE "{database}" SET default_transaction_read_only = on')
        try:
            await sql.execute(_END_CONNECTIONS)
            yield
        finally:
            await sql.execute("SET default_transaction_read_only = off")
            await sql.execute(f'ALTER DATABASE "{database}" RESET default_transaction_read_only')


@contextlib.asynccontextmanager
async def memory_alarm(infrastructure: Infrastructure) -> AsyncIterator[None]:
    """The broker is short of memory, and blocks all connections that publish."""
    await asyncio.to_thread(infrastructure.rabbitmqctl, "set_vm_memory_high_watermark", "0.000001")
    try:
        yield
    finally:
        await asyncio.to_thread(infrastructure.rabbitmqctl, "set_vm_memory_high_watermark", "0.4")


DISTURBANCES: dict[str, Disturbance] = {
    "disk full": disk_full,
    "read-only database": read_only,
    "broker out of memory": memory_alarm,
}


@contextlib.asynccontextmanager
async def _connected(infrastructure: Infrastructure) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    sql = await asyncpg.connect(infrastructure.database_url)
    try:
        yield sql
    finally:
        await sql.close()
