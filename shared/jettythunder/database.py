"""The connection pool, and queries by name from a service's queries.sql."""

import asyncio
from importlib import resources
from typing import Any, TypeAlias

import aiosql
import asyncpg

from jettythunder.errors import DatabaseUnavailable

Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
)
# Where one statement may run: on a connection, in its transaction if it has one, or on any of the pool.
Runner: TypeAlias = (
    "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
    " | asyncpg.Pool[asyncpg.Record]"
)

# What asyncpg raises while PostgreSQL is away or coming back.
CONNECTION_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.exceptions.PostgresConnectionError,
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.InterfaceError,
    asyncpg.exceptions.TooManyConnectionsError,
)


async def connect(url: str, *, size: int, name: str) -> Pool:
    """Open a pool of up to ``size`` connections, shown in pg_stat_activity under ``name``."""
    pool: Pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        command_timeout=30,
        reset=_keep,
        timeout=10,
        server_settings={"application_name": name, "timezone": "UTC"},
    )
    return pool


async def _keep(_: object) -> None:
    """Nothing to reset: what we set on a connection ends with its transaction, or is undone where it is set.

    asyncpg's own reset is one more round trip for each use of the pool.
    """


async def ping(pool: Pool) -> None:
    """One round trip.

    Raises:
        DatabaseUnavailable: if it does not answer within two seconds.
    """
    try:
        async with asyncio.timeout(2):
            await pool.fetchval("SELECT 1")
    except CONNECTION_ERRORS as error:
        raise DatabaseUnavailable from error


def queries(package: str) -> Any:
    """The queries of ``package``'s queries.sql, as methods that take a connection first."""
    text = resources.files(package).joinpath("queries.sql").read_text(encoding="utf-8")
    return aiosql.from_str(text, "asyncpg")
