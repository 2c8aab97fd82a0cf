"""Events that tests and benchmarks commit to the outbox, and whose ids or rows they need to know."""

from __future__ import annotations

from uuid import UUID

from jettythunder import outbox
from jettythunder.contracts.envelope import Payload
from jettythunder.database import Runner


async def write(on: Runner, *payloads: Payload, source: str = "/test") -> list[UUID]:
    """Add events to the outbox as services do; their ids."""
    rows = outbox.rows(*payloads, source=source)
    await outbox.write_rows(on, rows)
    return rows.event_ids
