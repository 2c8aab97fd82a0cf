"""Dead letters over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from jettythunder.errors import DeadLettersBusy, MalformedEvent
from jettythunder.http import OperatorRoute, provided, raises
from operations.access import Who
from operations.dead_letters.model import DeadLetter, DeadLetterGroup, Selection
from operations.dead_letters.settle import DeadLetters
from operations.errors import ConsumerNotFound, DeadLetterNotFound

router = APIRouter(prefix="/dead-letters", route_class=OperatorRoute)

AnyDeadLetters = Annotated[DeadLetters, Depends(provided(DeadLetters))]


class RetryWanted(BaseModel):
    """Which dead letters to give back."""

    model_config = ConfigDict(extra="forbid")

    selection: Selection
    rate: float | None = Field(
        default=None, ge=0.001, le=1_000_000, allow_inf_nan=False, description="Messages a second at most"
    )


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


@router.get("")
@raises(ConsumerNotFound)
async def list_dead_letters(
    dead_letters: AnyDeadLetters, consumer: str | None = None
) -> list[DeadLetterGroup]:
    """Dead letters by consumer, exception and where it was raised."""
    return await dead_letters.groups(consumer)


@router.get("/{message_id:path}")
@raises(ConsumerNotFound, DeadLetterNotFound)
async def show_dead_letter(
    message_id: str, dead_letters: AnyDeadLetters, consumer: str | None = None
) -> DeadLetter:
    """One dead letter with its reason."""
    return await dead_letters.fetch(message_id, consumer=consumer)


@router.post("/retry")
@raises(ConsumerNotFound, DeadLettersBusy)
async def retry(wanted: RetryWanted, dead_letters: AnyDeadLetters, who: Who) -> dict[str, int]:
    """Give dead letters back to their consumer; the answer comes when all are."""
    return {"retried": await dead_letters.retry(wanted.selection, who=who, rate=wanted.rate)}


@router.post("/{message_id:path}/edit-and-retry")
@raises(ConsumerNotFound, DeadLetterNotFound, DeadLettersBusy, MalformedEvent)
async def edit_and_retry(
    message_id: str, wanted: EditWanted, dead_letters: AnyDeadLetters, who: Who
) -> dict[str, int]:
    """Give a dead letter back with a mended body."""
    await dead_letters.edit_and_retry(message_id, wanted.body, who=who, consumer=wanted.consumer)
    return {"retried": 1}


@router.post("/discard")
@raises(ConsumerNotFound, DeadLettersBusy)
async def discard(wanted: DiscardWanted, dead_letters: AnyDeadLetters, who: Who) -> dict[str, int]:
    """Remove dead letters; the answer comes when all are."""
    return {"discarded": await dead_letters.discard(wanted.selection, why=wanted.why, who=who)}
