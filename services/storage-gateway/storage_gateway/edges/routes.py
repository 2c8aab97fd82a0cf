"""Tenants' call for the edges."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from jettythunder.http import provided
from storage_gateway.access.credentials import CurrentTenant, TenantRoute
from storage_gateway.edges.known import Edges

router = APIRouter(prefix="/api", tags=["edges"], route_class=TenantRoute)


@router.get("/edges")
async def list_edges(_: CurrentTenant, edges: Annotated[Edges, Depends(provided(Edges))]) -> dict[str, Any]:
    """The edges that take chunks now."""
    return {"success": True, "edges": await edges.answer()}
