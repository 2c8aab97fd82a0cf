"""Events that tests and benchmarks commit to the outbox, and whose ids or rows they need to know."""

from __future__ import annotations

from uuid import UUID

from jettythunder import outbox
from jettythunder.contracts.envelope import Payload
from jettythunder.database import Queries, Runner

_insert_outbox = Queries("jettythunder.outbox").run("insert_outbox")


async def write(on: Runner, *payloads: Payload, source: str = "/test") -> list[UUID]:
    """Add events to the outbox as services do; their ids."""
    rows = outbox.rows(*payloads, source=source)
    await write_rows(on, rows)
    return rows.event_ids


async def write_rows(on: Runner, rows: outbox.Rows) -> None:
    """Add rows that were made before, and may have been changed, or written already."""
    await _insert_outbox(on, **vars(rows))
