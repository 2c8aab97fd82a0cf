"""What the consumers note as processed."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from jettythunder.database import Database, Queries
from operations.events.model import Processed

_queries = Queries("operations.events")


@dataclass(frozen=True)
class _Row:
    consumer: str
    processed_at: datetime


_processed_by = _queries.all("processed_by", _Row)
_known_events = _queries.all("known_events", UUID)


class InboxStore:
    """The inboxes of all consumers, which operations only reads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def processed_by(self, event_id: UUID) -> list[Processed]:
        """The consumers that have processed an event, in the order of time."""
        rows = await _processed_by(self._database, event_id=event_id)
        return [Processed(consumer=row.consumer, processed_at=row.processed_at) for row in rows]

    async def known_events(self, consumer: str, event_ids: list[UUID]) -> set[UUID]:
        """Those of the events that a consumer has processed."""
        return set(await _known_events(self._database, consumer=consumer, event_ids=event_ids))
