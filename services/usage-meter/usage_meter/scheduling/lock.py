"""Work that one instance does at a time, however many there are.

A lock belongs to a transaction, so it can't outlive its work: PostgreSQL gives it back at the commit, the
rollback, or the end of the connection.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from zlib import crc32

from jettythunder.database import Connection, Database, Queries
from usage_meter.messages import SERVICE

_try_lock = Queries("usage_meter.scheduling").one("try_lock", bool)


class WorkLock:
    """The right to do some work, which one transaction has at a time."""

    def __init__(self, database: Database, name: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._key = crc32(f"{SERVICE}/{name}".encode())
        self._turn = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[bool]:
        """Have the lock, for work of any length on other connections; False where another one has it."""
        async with self._locked() as connection:
            if connection is not None:
                await connection.release_snapshot()
            yield connection is not None

    async def run(self, batch: Callable[[Connection], Awaitable[bool]]) -> float:
        """Do batches, each in a transaction of its own, for as long as ``batch`` says that more is left.

        Works of this process that share the lock take turns; to another instance's work it is left.

        Returns:
            For how many seconds the batches worked; waiting for a turn or a connection is no work.
        """
        worked_seconds = 0.0
        is_more_left = True
        while is_more_left:
            async with self._turn, self._locked() as connection:
                if connection is None:
                    break
                began = self._clock()
                is_more_left = await batch(connection)
            worked_seconds += self._clock() - began
        return worked_seconds

    @contextlib.asynccontextmanager
    async def _locked(self) -> AsyncIterator[Connection | None]:
        """A transaction that has the lock until it ends; None where another one has it."""
        async with self._database.transaction() as connection:
            yield connection if await _try_lock(connection, key=self._key) else None
