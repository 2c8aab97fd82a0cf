"""Adjustments over HTTP, for operators."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from jettythunder.errors import AccountNotFound
from jettythunder.http import OPERATOR_SECURITY, CurrentOperator, OperatorRoute, provided, raises
from jettythunder.ids import new_id
from jettythunder.inputs import JSON_NUMBER, Moment
from usage_meter.ledger.adjust import Adjustments
from usage_meter.ledger.model import Adjustment, Resource
from usage_meter.reports.model import Quota
from usage_meter.reports.quotas import Quotas

router = APIRouter(prefix="/usage", tags=["usage"], route_class=OperatorRoute, dependencies=OPERATOR_SECURITY)

AnyAdjustments = Annotated[Adjustments, Depends(provided(Adjustments))]
AnyQuotas = Annotated[Quotas, Depends(provided(Quotas))]

_FIRST_HOUR = datetime(2020, 1, 1, tzinfo=UTC)


class AdjustmentRequest(BaseModel):
    """A correction. Sending the same ``id`` again changes nothing."""

    id: UUID = Field(default_factory=new_id)
    account: str = Field(description="The account's id, or its user's")
    resource: Resource
    bytes: Annotated[
        int, Field(description="What to add to the bytes used; negative takes away"), JSON_NUMBER
    ]
    reason: str = Field(min_length=3, max_length=500)
    author: str = Field(min_length=1, max_length=200)
    occurred_at: Moment | None = Field(
        default=None, ge=_FIRST_HOUR, description="Which hour it corrects; now if left out"
    )


class AdjustmentAnswer(BaseModel):
    """Whether the adjustment was new, and the quota after it."""

    id: UUID
    booked: bool
    quota: Quota


@router.post("/adjustments")
@raises(AccountNotFound)
async def adjust(
    wanted: AdjustmentRequest, adjustments: AnyAdjustments, quotas: AnyQuotas, operator: CurrentOperator
) -> AdjustmentAnswer:
    """Correct an account's usage; the reason, the token's name and the author stay in the ledger."""
    account = await quotas.one(wanted.account)
    named = wanted.model_dump(exclude={"account", "bytes", "author"})
    author = operator.signed(wanted.author)
    adjustment = Adjustment(
        account_id=account.account_id, used_delta_bytes=wanted.bytes, author=author, **named
    )
    booked = await adjustments.adjust(adjustment)
    return AdjustmentAnswer(id=wanted.id, booked=booked, quota=await quotas.one(str(account.account_id)))
