"""Who did what to events, when, and what came of it."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from jettythunder.database import Pool, queries

_queries = queries("jettythunder.operations")


class Audit:
    """The record of operations. An entry is committed before its operation begins."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def begin(self, *, who: str, action: str, wanted: dict[str, Any]) -> int:
        """Note who is about to do what; the entry's id."""
        return int(await _queries.begin_audit(self._pool, who=who, action=action, filter=json.dumps(wanted)))

    async def finish(self, audit_id: int, result: dict[str, Any]) -> None:
        """Note what came of it."""
        await _queries.finish_audit(self._pool, audit_id=audit_id, result=json.dumps(result))

    @contextlib.asynccontextmanager
    async def entry(self, *, who: str, action: str, wanted: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """An entry around an operation, which fills in the result; a failure is noted as such."""
        audit_id = await self.begin(who=who, action=action, wanted=wanted)
        result: dict[str, Any] = {}
        try:
            yield result
        except BaseException as error:
            await self.finish(audit_id, {**result, "failed": type(error).__name__})
            raise
        await self.finish(audit_id, result)

    async def newest(self, *, limit: int) -> list[dict[str, Any]]:
        """The last entries, newest first."""
        rows = [dict(row) async for row in _queries.newest_audit(self._pool, limit=limit)]
        return [
            {**row, "filter": json.loads(row["filter"]), "result": json.loads(row["result"] or "null")}
            for row in rows
        ]
