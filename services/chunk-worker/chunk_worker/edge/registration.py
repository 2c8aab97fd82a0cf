"""Listing this edge for the gateways, in the table edges."""

import contextlib
from datetime import UTC, datetime

from chunk_worker.edge import store
from chunk_worker.edge.model import InFlight
from jettythunder.database import Database
from jettythunder.errors import JettyThunderError
from jettythunder.lifecycle import Periodic


class Registration:
    """An edge's row, kept fresh while the edge serves, and removed when it stops."""

    def __init__(
        self,
        database: Database,
        in_flight: InFlight,
        *,
        edge_id: str,
        region: str,
        url: str,
        heartbeat_seconds: float,
    ) -> None:
        self._database = database
        self._in_flight = in_flight
        self._edge_id = edge_id
        self._region = region
        self._url = url
        # Tells this process's row from that of a later one with the same id.
        self._started_at = datetime.now(UTC)
        self._heartbeat = Periodic(
            "edge-heartbeat",
            self._note,
            interval_seconds=heartbeat_seconds,
            max_backoff_seconds=heartbeat_seconds,
        )

    def start(self) -> None:
        """List the edge, and keep its row fresh in the background."""
        self._heartbeat.start()

    async def close(self) -> None:
        """Take the edge off the list; where the database can't be reached, its row expires by its age."""
        await self._heartbeat.close()
        with contextlib.suppress(JettyThunderError):
            await store.remove_edge(self._database, edge_id=self._edge_id, started_at=self._started_at)

    async def _note(self) -> None:
        await store.note_edge(
            self._database,
            edge_id=self._edge_id,
            region=self._region,
            url=self._url,
            in_flight_bytes=self._in_flight.bytes,
            capacity_bytes=self._in_flight.capacity_bytes,
            started_at=self._started_at,
        )
