"""Writing events in the caller's transaction."""

from dataclasses import dataclass
from uuid import UUID
from zlib import crc32

from jettythunder.broker import topology
from jettythunder.broker.publisher import envelope
from jettythunder.contracts.envelope import Payload
from jettythunder.database import Queries, Runner

LANES = range(16)

_insert_outbox = Queries("jettythunder.outbox").run("insert_outbox")


@dataclass(frozen=True)
class Rows:
    """Events as columns, for a statement that inserts them together with the state they tell of."""

    lanes: list[int]
    exchanges: list[str]
    routing_keys: list[str]
    event_ids: list[UUID]
    bodies: list[str]


def rows(*payloads: Payload, source: str) -> Rows:
    """Envelope the payloads, with the correlation and trace of the moment, as rows of the outbox."""
    events = [envelope(payload, exchange=topology.EVENTS, source=source) for payload in payloads]
    return Rows(
        lanes=[crc32((event.subject or "").encode()) % len(LANES) for event in events],
        exchanges=[topology.EVENTS] * len(events),
        routing_keys=[event.type for event in events],
        event_ids=[event.id for event in events],
        bodies=[event.encode().decode() for event in events],
    )


async def write(on: Runner, *payloads: Payload, source: str) -> None:
    """Add events to the outbox. They are published if, and only if, the caller's transaction commits."""
    await write_rows(on, rows(*payloads, source=source))


async def write_rows(on: Runner, rows: Rows) -> None:
    """Add rows that were made before."""
    await _insert_outbox(on, **vars(rows))
