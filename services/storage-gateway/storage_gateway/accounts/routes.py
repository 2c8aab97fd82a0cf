"""AgentCache's doors."""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import AliasChoices, BaseModel, Field

from jettythunder.contracts.accounts import AccountReply, ChangeTierV1, ProvisionAccountV1
from storage_gateway import domain
from storage_gateway.access import AgentCacheOnly, CurrentTenant

router = APIRouter(prefix="/api/agentcache", tags=["accounts"])

UserId = Annotated[str, Field(min_length=1, max_length=255, examples=["test-123"])]


class ProvisionRequest(BaseModel):
    agentcache_user_id: UserId
    agentcache_email: str = Field(min_length=3, max_length=320, examples=["test@example.com"])
    tier: str = Field(examples=["pro"])


class UpgradeRequest(BaseModel):
    agentcache_user_id: UserId
    new_tier: str = Field(validation_alias=AliasChoices("new_tier", "tier"), examples=["business"])


@router.post("/provision", status_code=201, dependencies=[AgentCacheOnly])
async def provision(body: ProvisionRequest, request: Request, response: Response) -> dict[str, Any]:
    """Make a user's account with its credentials and folder; the same call again gives the same (200)."""
    reply = await request.app.state.accounts.ask(ProvisionAccountV1(**body.model_dump()))
    response.status_code = 201 if reply.created else 200
    return {"success": True, "account": _account(reply)}


@router.post("/upgrade", dependencies=[AgentCacheOnly])
async def upgrade(body: UpgradeRequest, request: Request) -> dict[str, Any]:
    """Move an account to another tier, up or down, at once."""
    command = ChangeTierV1(agentcache_user_id=body.agentcache_user_id, tier=body.new_tier)
    account = _account(await request.app.state.accounts.ask(command))
    return {"success": True, "account": {k: v for k, v in account.items() if k != "api_secret"}}


@router.get("/quota")
async def quota(tenant: CurrentTenant, request: Request) -> dict[str, Any]:
    """Storage and bandwidth: used, reserved and quota, with warnings from 80 % on."""
    return domain.quota_answer(await request.app.state.quota.of(tenant.account_id))


def _account(reply: AccountReply) -> dict[str, Any]:
    return reply.model_dump(mode="json", exclude={"outcome", "created"})
