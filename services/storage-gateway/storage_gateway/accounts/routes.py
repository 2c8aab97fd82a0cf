"""AgentCache's calls, and the tenants' quotas."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import AliasChoices, BaseModel, Field

from jettythunder import security_log
from jettythunder.contracts.accounts import (
    DEFAULT_GRACE_SECONDS,
    LONGEST_GRACE_SECONDS,
    TIERS,
    AccountReply,
    ChangeTierV1,
    ProvisionAccountV1,
    ResumeAccountV1,
    RotateCredentialsV1,
    SuspendAccountV1,
)
from jettythunder.errors import AccountNotFound, StorageUnavailable, UnknownTier, UserIdTaken
from jettythunder.http import provided, raises
from jettythunder.inputs import JSON_NUMBER
from jettythunder.security_log import SecurityEvent
from storage_gateway.access.credentials import (
    AgentCacheRoute,
    CurrentTenant,
    TenantRoute,
)
from storage_gateway.accounts.commands import Accounts
from storage_gateway.accounts.quota import quota_answer
from storage_gateway.accounts.store import Quotas
from storage_gateway.errors import ProvisioningUnavailable

router = APIRouter(
    prefix="/api/agentcache",
    tags=["accounts"],
    route_class=AgentCacheRoute,
)
tenant_router = APIRouter(prefix="/api/agentcache", tags=["accounts"], route_class=TenantRoute)

AnyAccounts = Annotated[Accounts, Depends(provided(Accounts))]
_KNOWN: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The user has an account already: this one.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}

# Which there are is provisioning's to know, and a wrong one its to refuse.
Tier = Annotated[str, Field(json_schema_extra={"enum": list(TIERS)}, examples=["pro"])]
UserId = Annotated[str, Field(min_length=1, max_length=255, examples=["test-123"])]


class ProvisionRequest(BaseModel):
    agentcache_user_id: UserId
    agentcache_email: str = Field(min_length=3, max_length=320, examples=["test@example.com"])
    tier: Tier


class UpgradeRequest(BaseModel):
    agentcache_user_id: UserId
    new_tier: Tier = Field(validation_alias=AliasChoices("new_tier", "tier"))


class AccountRequest(BaseModel):
    agentcache_user_id: UserId


class RotateRequest(AccountRequest):
    grace_seconds: Annotated[
        int,
        Field(
            ge=0,
            le=LONGEST_GRACE_SECONDS,
            description="How long the pair before stays valid; 0 where it has leaked",
        ),
        JSON_NUMBER,
    ] = DEFAULT_GRACE_SECONDS


@router.post("/provision", status_code=201, responses=_KNOWN)
@raises(UnknownTier, UserIdTaken, StorageUnavailable, ProvisioningUnavailable)
async def provision(body: ProvisionRequest, accounts: AnyAccounts, response: Response) -> dict[str, Any]:
    """Make a user's account with its credentials and folder; the same call again gives the same (200)."""
    reply = await accounts.ask(ProvisionAccountV1(**body.model_dump()))
    response.status_code = 201 if reply.created else 200
    return {"success": True, "account": _account(reply)}


@router.post("/upgrade")
@raises(AccountNotFound, UnknownTier, UserIdTaken, ProvisioningUnavailable)
async def upgrade(body: UpgradeRequest, accounts: AnyAccounts) -> dict[str, Any]:
    """Move an account to another tier, up or down, at once."""
    command = ChangeTierV1(agentcache_user_id=body.agentcache_user_id, tier=body.new_tier)
    return _without_secret(await accounts.ask(command))


@router.post("/rotate")
@raises(AccountNotFound, UserIdTaken, ProvisioningUnavailable)
async def rotate(body: RotateRequest, accounts: AnyAccounts) -> dict[str, Any]:
    """Give an account its next pair of credentials; the pair before stays valid for the grace time."""
    reply = await accounts.ask(RotateCredentialsV1(**body.model_dump()))
    security_log.record(
        SecurityEvent.CREDENTIALS_ROTATED,
        account_id=str(reply.id),
        key_id=security_log.key_id(reply.api_key),
        grace_seconds=body.grace_seconds,
    )
    return {"success": True, "account": _account(reply)}


@router.post("/suspend")
@raises(AccountNotFound, UserIdTaken, ProvisioningUnavailable)
async def suspend(body: AccountRequest, accounts: AnyAccounts) -> dict[str, Any]:
    """Suspend an account: its credentials, links and upload sessions do nothing until it is resumed."""
    reply = await accounts.ask(SuspendAccountV1(**body.model_dump()))
    security_log.record(SecurityEvent.ACCOUNT_SUSPENDED, account_id=str(reply.id))
    return _without_secret(reply)


@router.post("/resume")
@raises(AccountNotFound, UserIdTaken, ProvisioningUnavailable)
async def resume(body: AccountRequest, accounts: AnyAccounts) -> dict[str, Any]:
    """End an account's suspension."""
    reply = await accounts.ask(ResumeAccountV1(**body.model_dump()))
    security_log.record(SecurityEvent.ACCOUNT_RESUMED, account_id=str(reply.id))
    return _without_secret(reply)


@tenant_router.get("/quota")
@raises(AccountNotFound)
async def quota(
    tenant: CurrentTenant, quotas: Annotated[Quotas, Depends(provided(Quotas))]
) -> dict[str, Any]:
    """Storage and bandwidth: used, reserved and quota, with warnings from 80 % on."""
    return quota_answer(await quotas.of(tenant.account_id))


def _without_secret(reply: AccountReply) -> dict[str, Any]:
    account = {name: value for name, value in _account(reply).items() if name != "api_secret"}
    return {"success": True, "account": account}


def _account(reply: AccountReply) -> dict[str, Any]:
    return reply.model_dump(mode="json", exclude={"outcome", "created"})
