"""AgentCache's calls, and the tenants' quotas."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import AliasChoices, BaseModel, Field

from jettythunder.contracts.accounts import AccountReply, ChangeTierV1, ProvisionAccountV1
from jettythunder.http import provided
from storage_gateway.access.credentials import (
    AGENTCACHE_SECURITY,
    TENANT_SECURITY,
    AgentCacheRoute,
    CurrentTenant,
    TenantRoute,
)
from storage_gateway.accounts.commands import Accounts
from storage_gateway.accounts.quota import quota_answer
from storage_gateway.accounts.store import Quotas

router = APIRouter(
    prefix="/api/agentcache",
    tags=["accounts"],
    route_class=AgentCacheRoute,
    dependencies=AGENTCACHE_SECURITY,
)
tenant_router = APIRouter(
    prefix="/api/agentcache", tags=["accounts"], route_class=TenantRoute, dependencies=TENANT_SECURITY
)

AnyAccounts = Annotated[Accounts, Depends(provided(Accounts))]
UserId = Annotated[str, Field(min_length=1, max_length=255, examples=["test-123"])]


class ProvisionRequest(BaseModel):
    agentcache_user_id: UserId
    agentcache_email: str = Field(min_length=3, max_length=320, examples=["test@example.com"])
    tier: str = Field(examples=["pro"])


class UpgradeRequest(BaseModel):
    agentcache_user_id: UserId
    new_tier: str = Field(validation_alias=AliasChoices("new_tier", "tier"), examples=["business"])


@router.post("/provision", status_code=201)
async def provision(body: ProvisionRequest, accounts: AnyAccounts, response: Response) -> dict[str, Any]:
    """Make a user's account with its credentials and folder; the same call again gives the same (200)."""
    reply = await accounts.ask(ProvisionAccountV1(**body.model_dump()))
    response.status_code = 201 if reply.created else 200
    return {"success": True, "account": _account(reply)}


@router.post("/upgrade")
async def upgrade(body: UpgradeRequest, accounts: AnyAccounts) -> dict[str, Any]:
    """Move an account to another tier, up or down, at once."""
    command = ChangeTierV1(agentcache_user_id=body.agentcache_user_id, tier=body.new_tier)
    account = _account(await accounts.ask(command))
    return {"success": True, "account": {k: v for k, v in account.items() if k != "api_secret"}}


@tenant_router.get("/quota")
async def quota(
    tenant: CurrentTenant, quotas: Annotated[Quotas, Depends(provided(Quotas))]
) -> dict[str, Any]:
    """Storage and bandwidth: used, reserved and quota, with warnings from 80 % on."""
    return quota_answer(await quotas.of(tenant.account_id))


def _account(reply: AccountReply) -> dict[str, Any]:
    return reply.model_dump(mode="json", exclude={"outcome", "created"})
