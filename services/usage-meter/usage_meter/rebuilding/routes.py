"""Rebuilding over HTTP, for operators."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from jettythunder.http import Route, ops_only, provided
from usage_meter.rebuilding.model import Rebuilt
from usage_meter.rebuilding.rebuild import Rebuilding

router = APIRouter(prefix="/usage", tags=["usage"], dependencies=[Depends(ops_only)], route_class=Route)

AnyRebuilding = Annotated[Rebuilding, Depends(provided(Rebuilding))]


@router.get("/rebuilt")
async def rebuild(rebuilding: AnyRebuilding, account: UUID | None = None) -> Rebuilt:
    """Used bytes from the event log alone, of one account or all, beside the ledger's. Changes nothing."""
    return await rebuilding.rebuild(account)
