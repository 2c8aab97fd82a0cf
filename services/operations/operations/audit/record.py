"""Keeping the audit. An entry is committed before its operation begins."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Protocol

from jettythunder import telemetry
from jettythunder.errors import JettyThunderError
from operations.audit.model import AuditEntry

log = telemetry.logger(__name__)


class Entries(Protocol):
    """Where the entries are kept."""

    async def begin(self, *, who: str, action: str, wanted: Mapping[str, Any]) -> int: ...

    async def note(self, audit_id: int, result: Mapping[str, Any]) -> None: ...

    async def finish(self, audit_id: int, result: Mapping[str, Any]) -> None: ...

    async def newest(self, *, limit: int) -> list[AuditEntry]: ...


class Entry:
    """An operation under way."""

    def __init__(self, entries: Entries, audit_id: int) -> None:
        self._entries = entries
        self._audit_id = audit_id
        self.result: dict[str, Any] = {}

    async def note(self) -> None:
        """Keep the result so far, in case that the operation is cut off."""
        await self._entries.note(self._audit_id, self.result)


class Audit:
    """The record of operations."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    async def begin(self, *, who: str, action: str, wanted: Mapping[str, Any]) -> int:
        """Note who is about to do what; the entry's id."""
        return await self._entries.begin(who=who, action=action, wanted=wanted)

    async def finish(self, audit_id: int, result: Mapping[str, Any]) -> None:
        """Note what came of it."""
        await self._entries.finish(audit_id, result)

    @contextlib.asynccontextmanager
    async def entry(self, *, who: str, action: str, wanted: Mapping[str, Any]) -> AsyncIterator[Entry]:
        """An entry around an operation, which adds to the result; a failure is noted as such."""
        audit_id = await self._entries.begin(who=who, action=action, wanted=wanted)
        entry = Entry(self._entries, audit_id)
        try:
            yield entry
        except BaseException as error:
            await self.finish_failed(audit_id, error, entry.result)
            raise
        await self._entries.finish(audit_id, entry.result)

    async def finish_failed(
        self, audit_id: int, failure: BaseException, result: Mapping[str, Any] | None = None
    ) -> None:
        """Note that the operation failed; the failure that the caller raises is not replaced by one here."""
        try:
            await self._entries.finish(audit_id, {**(result or {}), "failed": type(failure).__name__})
        except JettyThunderError as error:
            log.warning("audit entry not finished", audit_id=audit_id, code=error.code)

    async def newest(self, *, limit: int) -> list[AuditEntry]:
        """The last entries, newest first."""
        return await self._entries.newest(limit=limit)
