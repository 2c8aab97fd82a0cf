"""The audit's table."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jettythunder.database import Database, Queries
from operations.audit.model import AuditEntry, storable, without_addresses

_queries = Queries("operations.audit")


@dataclass(frozen=True)
class _Row:
    id: int
    who: str
    began_at: datetime
    action: str
    filter: str
    result: str | None
    finished_at: datetime | None


_begin = _queries.one("begin", int)
_note = _queries.run("note")
_finish = _queries.run("finish")
_newest = _queries.all("newest", _Row)


class AuditStore:
    """Keeps the entries in the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, *, who: str, action: str, wanted: Mapping[str, Any]) -> int:
        """Add an entry; its id."""
        return await _begin(self._database, who=storable(who), action=action, filter=_jsonb(wanted))

    async def note(self, audit_id: int, result: Mapping[str, Any]) -> None:
        """Keep what was done so far."""
        await _note(self._database, audit_id=audit_id, result=_jsonb(result))

    async def finish(self, audit_id: int, result: Mapping[str, Any]) -> None:
        """Keep what came of it."""
        await _finish(self._database, audit_id=audit_id, result=_jsonb(result))

    async def newest(self, *, limit: int) -> list[AuditEntry]:
        """The last entries, newest first."""
        rows = await _newest(self._database, limit=limit)
        return [
            AuditEntry(
                id=row.id,
                who=row.who,
                began_at=row.began_at,
                action=row.action,
                filter=json.loads(row.filter),
                result=json.loads(row.result) if row.result is not None else None,
                finished_at=row.finished_at,
            )
            for row in rows
        ]


def _jsonb(value: Mapping[str, Any]) -> str:
    return json.dumps(storable(without_addresses(value)))
