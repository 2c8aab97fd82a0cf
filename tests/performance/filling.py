"""Fills a database to a size, to measure what grows with accounts or with history.

Accounts have 25 assets and 100 entries of the ledger each, and one account has a twentieth of all. Half of
the ledger is of the last month. Size 100 has 200,000 accounts, 5 million assets and 20 million entries.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import psutil
from tests.support.infrastructure import Infrastructure

Database: TypeAlias = "asyncpg.Connection[Any] | asyncpg.Pool[asyncpg.Record]"
ACCOUNTS, ASSETS, ENTRIES = 2_000, 50_000, 200_000
# Open work, the same at every size.
OPEN = 200
_FILL = Path(__file__).with_name("fill.sql")


def give_memory(servers: Infrastructure) -> None:
    """Set PostgreSQL up for so much data: with a quarter of the memory, and checkpoints that are rare."""
    megabytes = psutil.virtual_memory().total // 4_000_000
    settings = servers.stack.layout.postgres / "postgresql.auto.conf"
    servers.stop("postgres")
    with settings.open("a") as file:
        file.write(f"shared_buffers = '{megabytes}MB'\nmax_wal_size = '16GB'\n")
    servers.start("postgres")


async def fill(database: Database, size: int) -> None:
    """Fill a migrated database. What its services work on is filled too: see :func:`close_open_work`."""
    for number in range(4):
        await _add_month(database, datetime.now(UTC) - timedelta(days=30 * number))
    await database.execute("SELECT keep_inbox_v1(3650), keep_usage_v1()")
    text = _FILL.read_text()
    for name, value in {"accounts": ACCOUNTS, "assets": ASSETS, "entries": ENTRIES}.items():
        text = text.replace(f":{name}", str(value * size))
    await database.execute(text.replace(":open", str(OPEN)))
    await database.execute("VACUUM ANALYZE")


async def close_open_work(database: Database) -> None:
    """Remove what services would work on once they are started."""
    await database.execute(
        "DELETE FROM outbox; DELETE FROM usage_reservations; DELETE FROM usage_rollup_queue;"
        " DELETE FROM object_deletions; DELETE FROM uploads WHERE kind = 'session'"
    )


async def _add_month(database: Database, at: datetime) -> None:
    """Make the partitions of a month that is over, as its services did when it began."""
    begin = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=32)).replace(day=1)
    for table in ("inbox", "usage_ledger", "storage_usage"):
        await database.execute(
            f"CREATE TABLE IF NOT EXISTS partitions.{table}_{begin:%Y_%m} PARTITION OF {table}"
            f" FOR VALUES FROM ('{begin}') TO ('{end}')"
        )
