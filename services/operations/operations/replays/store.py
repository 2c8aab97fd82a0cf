"""The table of replays."""

import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from jettythunder.broker.event_log import EventFilter
from jettythunder.database import Database, Queries
from operations.replays.model import SILENT_SECONDS, HeldReplay, Replay, ReplayStatus

_queries = Queries("operations.replays")


@dataclass(frozen=True)
class _Row:
    id: UUID
    who: str
    consumer: str
    filter: str
    rate: float | None
    next_offset: int | None
    end_offset: int
    read_count: int
    replayed_count: int
    processed_before_count: int
    status: ReplayStatus
    started_at: datetime
    updated_at: datetime


_insert = _queries.one("insert", _Row)
_fetch = _queries.maybe("fetch", _Row)
_newest = _queries.all("newest", _Row)
_claim = _queries.maybe("claim", _Row)
_note = _queries.maybe("note", datetime)


class ReplayStore:
    """Keeps replays in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(
        self,
        *,
        replay_id: UUID,
        audit_id: int,
        consumer: str,
        wanted: EventFilter,
        rate: float | None,
        end_offset: int,
    ) -> HeldReplay:
        """Begin a replay."""
        row = await _insert(
            self._database,
            replay_id=replay_id,
            audit_id=audit_id,
            consumer=consumer,
            filter=json.dumps(wanted.model_dump(mode="json", exclude_defaults=True)),
            rate=rate,
            end_offset=end_offset,
        )
        return HeldReplay(_replay(row), audit_id)

    async def fetch(self, replay_id: UUID) -> Replay | None:
        """One replay."""
        row = await _fetch(self._database, replay_id=replay_id)
        return None if row is None else _replay(row)

    async def newest(self, *, limit: int) -> list[Replay]:
        """The last replays, newest first."""
        return [_replay(row) for row in await _newest(self._database, limit=limit)]

    async def claim(self, replay_id: UUID, *, audit_id: int) -> HeldReplay | None:
        """Take over a replay that was interrupted or has been silent; None where it can't be."""
        row = await _claim(
            self._database, replay_id=replay_id, audit_id=audit_id, silent_seconds=SILENT_SECONDS
        )
        return None if row is None else HeldReplay(_replay(row), audit_id)

    async def note(self, held: HeldReplay, status: ReplayStatus) -> datetime | None:
        """Remember how far a replay has come, and when that was; None where it was taken over meanwhile."""
        replay = held.replay
        return await _note(
            self._database,
            replay_id=replay.id,
            audit_id=held.audit_id,
            next_offset=replay.next_offset,
            read_count=replay.read_count,
            replayed_count=replay.replayed_count,
            processed_before_count=replay.processed_before_count,
            status=status,
        )


def _replay(row: _Row) -> Replay:
    return Replay.model_validate({**vars(row), "filter": json.loads(row.filter)})
