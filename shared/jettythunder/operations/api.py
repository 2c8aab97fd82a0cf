"""The operations as an internal HTTP API, for ops with the token; every call names who makes it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from jettythunder import telemetry
from jettythunder.broker.event_log import EventFilter
from jettythunder.database import Pool
from jettythunder.operations.dead_letters import DeadLetter, DeadLetterGroup, Selection
from jettythunder.operations.rebuilding import Rebuilt, rebuild_usage
from jettythunder.operations.replay import Replay, ReplayCount
from jettythunder.operations.service import Operations, describe, open_operations
from jettythunder.operations.tracing import TraceNode
from jettythunder.web import ops_only

log = telemetry.logger(__name__)

router = APIRouter(prefix="/admin", tags=["operations"], dependencies=[Depends(ops_only)])

Who = Annotated[
    str, Header(alias="X-Operator", min_length=1, max_length=255, description="Who does it, for the audit")
]


class OperationsDoor:
    """Opens operations for one call each, and runs replays that outlive theirs.

    A replay that this process does not finish is noted as interrupted, and any other process can resume it.
    """

    def __init__(self, pool: Pool, rabbitmq_url: str) -> None:
        self._pool = pool
        self._rabbitmq_url = rabbitmq_url
        self._running: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Operations]:
        """Operations over fresh connections, so that a restarted broker is no matter."""
        async with open_operations(self._pool, self._rabbitmq_url) as operations:
            yield operations

    def run(self, replay: Replay) -> None:
        """Carry a replay out in the background."""
        task = asyncio.create_task(self._run(replay))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def close(self) -> None:
        """Interrupt the replays that run here."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, replay: Replay) -> None:
        try:
            async with self.open() as operations:
                await operations.replays.run(replay)
        except Exception as error:
            log.error("replay interrupted", replay=str(replay.id), exc_info=error)


async def _open(request: Request) -> AsyncIterator[Operations]:
    door: OperationsDoor = request.app.state.operations
    async with door.open() as operations:
        yield operations


Opened = Annotated[Operations, Depends(_open)]


Limit = Annotated[int, Query(ge=1, le=1000)]


class EventPage(BaseModel):
    """Events of the log, and the offset that the next page begins at."""

    events: list[dict[str, Any]]
    next_offset: int


class ReplayWanted(BaseModel):
    """A replay: to which consumer, of which events."""

    model_config = ConfigDict(extra="forbid")

    to: str
    filter: EventFilter = EventFilter()
    rate: float | None = Field(default=None, gt=0, description="Events a second at most")


class RetryWanted(BaseModel):
    """Which dead letters to give back."""

    model_config = ConfigDict(extra="forbid")

    selection: Selection
    rate: float | None = Field(default=None, gt=0, description="Messages a second at most")


class EditWanted(BaseModel):
    """The mended body of a dead letter."""

    model_config = ConfigDict(extra="forbid")

    body: str
    consumer: str | None = None


class DiscardWanted(BaseModel):
    """Which dead letters to discard, and why."""

    model_config = ConfigDict(extra="forbid")

    selection: Selection
    why: str = Field(min_length=1, max_length=1000)


@router.get("/events")
async def find(
    operations: Opened,
    types: Annotated[list[str] | None, Query(alias="type")] = None,
    account: str | None = None,
    subject: str | None = None,
    correlation_id: str | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    start: Annotated[Literal["first", "last", "next"] | int | None, Query(alias="from")] = None,
    limit: Limit = 100,
    wait_seconds: Annotated[float, Query(ge=0, le=30)] = 0,
) -> EventPage:
    """The first events of the log that fit; go on with the answer's `next_offset` as `from`.

    To watch events as they come, begin with `from=next` and give `wait_seconds`: where there is nothing to
    tell yet, the answer waits for the first event that fits.
    """
    wanted = EventFilter(
        types=tuple(types or ()),
        account=account,
        subject=subject,
        correlation_id=correlation_id,
        since=since,
        until=until,
    )
    page = await operations.page(wanted, start=start, limit=limit, wait_seconds=wait_seconds)
    return EventPage(events=[describe(logged) for logged in page.events], next_offset=page.next_offset)


@router.get("/events/{event_id}")
async def show(event_id: UUID, operations: Opened) -> dict[str, Any]:
    """One event, and the consumers that have processed it."""
    logged, processed = await operations.show(event_id)
    return {**describe(logged), "processed": processed}


@router.get("/traces/{correlation_id}")
async def trace(correlation_id: str, operations: Opened) -> list[TraceNode]:
    """The causal tree of everything with this correlation id."""
    return await operations.trace(correlation_id)


@router.post("/replays/dry-run")
async def count_replay(wanted: ReplayWanted, operations: Opened) -> ReplayCount:
    """How many events a replay would deliver, and how many of them are new to the consumer."""
    return await operations.replays.count(wanted.to, wanted.filter)


@router.post("/replays", status_code=202)
async def begin_replay(wanted: ReplayWanted, operations: Opened, who: Who, request: Request) -> Replay:
    """Deliver events of the log to one consumer again; the answer's id tells how far it is."""
    replay = await operations.replays.begin(wanted.to, wanted.filter, who=who, rate=wanted.rate)
    request.app.state.operations.run(replay)
    return replay


@router.get("/replays")
async def list_replays(operations: Opened, limit: Limit = 100) -> list[Replay]:
    """The last replays, newest first: who, to whom, which events, and how far."""
    return await operations.replays.newest(limit=limit)


@router.get("/replays/{replay_id}")
async def show_replay(replay_id: UUID, operations: Opened) -> Replay:
    """How far a replay has come."""
    return await operations.replays.fetch(replay_id)


@router.post("/replays/{replay_id}/resume", status_code=202)
async def resume_replay(replay_id: UUID, operations: Opened, who: Who, request: Request) -> Replay:
    """Go on with a replay that was interrupted."""
    replay = await operations.replays.resume(replay_id, who=who)
    request.app.state.operations.run(replay)
    return replay


@router.get("/dead-letters")
async def list_dead_letters(operations: Opened, consumer: str | None = None) -> list[DeadLetterGroup]:
    """Dead letters by consumer, exception and where it was raised."""
    return await operations.dead_letters.groups(consumer)


@router.get("/dead-letters/{message_id}")
async def show_dead_letter(message_id: str, operations: Opened, consumer: str | None = None) -> DeadLetter:
    """One dead letter with its reason."""
    return await operations.dead_letters.fetch(message_id, consumer=consumer)


@router.post("/dead-letters/retry")
async def retry(wanted: RetryWanted, operations: Opened, who: Who) -> dict[str, int]:
    """Give dead letters back to their consumer."""
    return {"retried": await operations.dead_letters.retry(wanted.selection, who=who, rate=wanted.rate)}


@router.post("/dead-letters/{message_id}/edit-and-retry")
async def edit_and_retry(message_id: str, wanted: EditWanted, operations: Opened, who: Who) -> dict[str, int]:
    """Give a dead letter back with a mended body."""
    await operations.dead_letters.edit_and_retry(message_id, wanted.body, who=who, consumer=wanted.consumer)
    return {"retried": 1}


@router.post("/dead-letters/discard")
async def discard(wanted: DiscardWanted, operations: Opened, who: Who) -> dict[str, int]:
    """Take dead letters away for good."""
    return {"discarded": await operations.dead_letters.discard(wanted.selection, why=wanted.why, who=who)}


@router.get("/usage/rebuilt")
async def rebuild(operations: Opened, account: UUID | None = None) -> Rebuilt:
    """Used bytes from the event log alone, of one account or all, beside the ledger's. Changes nothing."""
    return await rebuild_usage(operations.pool, operations.log, account_id=account)


@router.get("/audit")
async def audit(operations: Opened, limit: Limit = 100) -> list[dict[str, Any]]:
    """What was done last, newest first."""
    return await operations.audit.newest(limit=limit)
