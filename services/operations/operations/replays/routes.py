"""Replays over HTTP."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from jettythunder.broker.event_log import EventFilter
from jettythunder.http import OperatorRoute, ReadingRoute, provided, raises
from operations.access import Limit, Who
from operations.errors import ConsumerHasNoLog, ConsumerNotFound, ReplayNotFound, ReplayNotResumable
from operations.replays.model import Replay, ReplayCount
from operations.replays.replay import Replays
from operations.replays.running import RunningReplays

router = APIRouter(prefix="/replays", route_class=OperatorRoute)
reading_router = APIRouter(prefix="/replays", route_class=ReadingRoute)

AnyReplays = Annotated[Replays, Depends(provided(Replays))]
Running = Annotated[RunningReplays, Depends(provided(RunningReplays))]


class ReplayWanted(BaseModel):
    """A replay: to which consumer, of which events."""

    model_config = ConfigDict(extra="forbid")

    to: str
    filter: EventFilter = EventFilter()
    rate: float | None = Field(
        default=None, ge=0.001, le=1_000_000, allow_inf_nan=False, description="Events a second at most"
    )


@reading_router.post("/dry-run")
@raises(ConsumerNotFound, ConsumerHasNoLog)
async def count_replay(wanted: ReplayWanted, replays: AnyReplays) -> ReplayCount:
    """How many events a replay would deliver, and how many of them are new to the consumer."""
    return await replays.count(wanted.to, wanted.filter)


@router.post("", status_code=202)
@raises(ConsumerNotFound, ConsumerHasNoLog)
async def begin_replay(wanted: ReplayWanted, replays: AnyReplays, running: Running, who: Who) -> Replay:
    """Deliver events of the log to one consumer again; the answer's id tells how far it is."""
    held = await replays.begin(wanted.to, wanted.filter, who=who, rate=wanted.rate)
    running.start(held)
    return held.replay


@router.get("")
async def list_replays(replays: AnyReplays, limit: Limit = 100) -> list[Replay]:
    """The last replays, newest first: who, to whom, which events, and how far."""
    return await replays.newest(limit=limit)


@router.get("/{replay_id}")
@raises(ReplayNotFound)
async def show_replay(replay_id: UUID, replays: AnyReplays) -> Replay:
    """How far a replay has come."""
    return await replays.fetch(replay_id)


@router.post("/{replay_id}/resume", status_code=202)
@raises(ReplayNotFound, ReplayNotResumable, ConsumerNotFound, ConsumerHasNoLog)
async def resume_replay(replay_id: UUID, replays: AnyReplays, running: Running, who: Who) -> Replay:
    """Go on with a replay that was interrupted."""
    held = await replays.resume(replay_id, who=who)
    running.start(held)
    return held.replay
