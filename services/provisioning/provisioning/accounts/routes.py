"""The master keys over HTTP, for operators."""

from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field

from jettythunder import telemetry
from jettythunder.contracts.accounts import DEFAULT_GRACE_SECONDS, LONGEST_GRACE_SECONDS
from jettythunder.http import OPERATOR_SECURITY, CurrentOperator, OperatorRoute, provided
from provisioning.accounts.master_keys import MasterKeyRing, MoveAccounts, Moved, RingEntry

log = telemetry.logger(__name__)

router = APIRouter(prefix="/keys", tags=["keys"], route_class=OperatorRoute, dependencies=OPERATOR_SECURITY)


class MoveRequest(BaseModel):
    """How many accounts to move, and how long their pairs before stay valid."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=500)
    grace_seconds: int = Field(
        default=DEFAULT_GRACE_SECONDS, ge=0, le=LONGEST_GRACE_SECONDS, description="0 where a key has leaked"
    )


@router.get("")
async def list_keys(ring: Annotated[MasterKeyRing, Depends(provided(MasterKeyRing))]) -> list[RingEntry]:
    """The master keys by their ids, the oldest first, and how many accounts each has."""
    return await ring.entries()


@router.post("/rotate")
async def rotate(
    wanted: MoveRequest,
    move: Annotated[MoveAccounts, Depends(provided(MoveAccounts))],
    operator: CurrentOperator,
) -> Moved:
    """Give some accounts of older master keys a pair of the newest. Repeat it until ``is_last``."""
    moved = await move(limit=wanted.limit, grace_seconds=wanted.grace_seconds)
    log.info("accounts moved to the newest master key", operator=operator.name, moved=moved.moved)
    return moved
