"""The audit over HTTP."""

from typing import Annotated

from fastapi import APIRouter, Depends

from jettythunder.http import Route, provided
from operations.access import Limit
from operations.audit.model import AuditEntry
from operations.audit.record import Audit

router = APIRouter(route_class=Route)


@router.get("/audit")
async def audit(audit: Annotated[Audit, Depends(provided(Audit))], limit: Limit = 100) -> list[AuditEntry]:
    """What was done last, newest first."""
    return await audit.newest(limit=limit)
