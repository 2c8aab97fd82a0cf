"""Telling the gateways, through the table edges, that this edge is there."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg

from chunk_worker.domain import ByteBudget
from chunk_worker.repository import Repository
from jettythunder import telemetry
from jettythunder.database import CONNECTION_ERRORS, Pool

log = telemetry.logger(__name__)

# Readers take an edge that was silent for fifteen seconds for gone: two beats may be lost.
HEARTBEAT_SECONDS = 5

_NOT_NOW: tuple[type[BaseException], ...] = (asyncpg.PostgresError, *CONNECTION_ERRORS)


class Registration:
    """An edge's row, kept fresh while the edge serves, and gone after it."""

    def __init__(
        self,
        *,
        pool: Pool,
        repository: Repository,
        budget: ByteBudget,
        edge_id: str,
        region: str,
        url: str,
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._budget = budget
        self._edge_id = edge_id
        self._region = region
        self._url = url
        # Tells this process's row from that of a later one with the same id.
        self._started_at = datetime.now(UTC)

    @contextlib.asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Be listed while inside."""
        beating = asyncio.create_task(self._beat_forever())
        try:
            yield
        finally:
            beating.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beating
            with contextlib.suppress(*_NOT_NOW):
                await self._repository.remove_edge(
                    self._pool, edge_id=self._edge_id, started_at=self._started_at
                )

    async def _beat_forever(self) -> None:
        while True:
            try:
                await self._repository.note_edge(
                    self._pool,
                    edge_id=self._edge_id,
                    region=self._region,
                    url=self._url,
                    in_flight_bytes=self._budget.in_flight_bytes,
                    capacity_bytes=self._budget.capacity_bytes,
                    started_at=self._started_at,
                )
            except _NOT_NOW as error:
                log.warning("heartbeat failed", error_type=type(error).__name__)
            await asyncio.sleep(HEARTBEAT_SECONDS)
