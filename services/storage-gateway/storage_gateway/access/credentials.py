"""Authentication: tenants by key and secret, AgentCache and Workers by bearer tokens, links by signature."""

from collections.abc import Sequence
from typing import Annotated, NoReturn, Protocol
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer

from jettythunder import security_log, signing
from jettythunder.errors import LinkRevoked, RateLimited, Unauthenticated
from jettythunder.http.callers import bearer_token
from jettythunder.http.documents import raises, wants
from jettythunder.http.guard import guarded
from jettythunder.http.provided import find
from storage_gateway.access.limits import ACCOUNT_WINDOW_SECONDS, Limits, note
from storage_gateway.access.model import LinkOwner, Taken, Tenant
from storage_gateway.access.store import Found
from storage_gateway.errors import AccountSuspended, AssetNotFound

_LONGEST_CREDENTIAL = 512
_MOST_REMEMBERED = 10_000

_key = HTTPBearer(auto_error=False, scheme_name="TenantKey", description="A tenant's API key (jt_…)")
_secret = APIKeyHeader(
    name="X-API-Secret",
    auto_error=False,
    scheme_name="TenantSecret",
    description="A tenant's API secret (jts_…)",
)
_agentcache = HTTPBearer(auto_error=False, scheme_name="AgentCache", description="AgentCache's secret")
_edge = HTTPBearer(auto_error=False, scheme_name="Edge", description="A Worker's secret, of EDGE_SECRETS")


# What OpenAPI says about the credentials of tenants.
with_tenants_pair = wants(_key, _secret)


class KnownAccounts(Protocol):
    """Where credentials and the owners of links are looked up."""

    async def authenticate(self, *, api_key: str, secret_digest: str) -> Found | None: ...

    async def link_owner(self, asset_id: UUID) -> LinkOwner | None: ...


class Access:
    """Checks who calls. A tenant's credentials and its rate limit take one round trip to the database.

    Args:
        agentcache_secrets: the bearer tokens of AgentCache: one, or two during a rotation.
        edge_secrets: those of Workers, likewise; none admits none.
    """

    def __init__(
        self,
        accounts: KnownAccounts,
        limits: Limits,
        *,
        agentcache_secrets: Sequence[str],
        edge_secrets: Sequence[str] = (),
    ) -> None:
        self._accounts = accounts
        self._limits = limits
        self._agentcache_secrets = agentcache_secrets
        self._edge_secrets = edge_secrets
        # An address that others misuse stays open to who has shown the right pair.
        self._lately_right: dict[tuple[str, str], None] = {}

    async def tenant(self, request: Request) -> Tenant:
        """The account whose credentials came with the request.

        Raises:
            Unauthenticated: they are missing or wrong, which counts against the address.
            AccountSuspended: the account may do nothing.
            RateLimited: the account's requests of this minute are used up.
        """
        api_key = bearer_token(request)
        api_secret = request.headers.get("x-api-secret", "")
        if not api_key or not api_secret or max(len(api_key), len(api_secret)) > _LONGEST_CREDENTIAL:
            security_log.identify("tenant")
            await self._refuse(request)
        security_log.identify("tenant", api_key=api_key)
        digest = signing.secret_digest(api_secret)
        if (api_key, digest) not in self._lately_right:
            self._limits.check_address(request)
        found = await self._accounts.authenticate(api_key=api_key, secret_digest=digest)
        if found is not None:
            security_log.identify("tenant", account_id=found.account_id)
        # An unknown key is compared as well, so that its answer takes no other time.
        expected = found.secret_digest if found is not None else signing.secret_digest("")
        if not signing.matches(digest, expected) or found is None:
            self._lately_right.pop((api_key, digest), None)
            await self._refuse(request)
        self._remember(api_key, digest)
        if found.status == "suspended":
            raise AccountSuspended
        taken = Taken(bool(found.allowed), found.remaining or 0, found.reset_seconds or 0.0)
        note(request, taken, limit=found.rate_limit_per_minute, window_seconds=ACCOUNT_WINDOW_SECONDS)
        return Tenant(
            account_id=found.account_id,
            agentcache_user_ref=found.agentcache_user_ref,
            tier=found.tier,
            status=found.status,
            epoch=found.epoch,
            s3_prefix=found.s3_prefix,
            jetty_speed_enabled=found.jetty_speed_enabled,
            storage_quota_gb=found.storage_quota_gb,
            bandwidth_quota_gb=found.bandwidth_quota_gb,
            max_file_size_mb=found.max_file_size_mb,
            rate_limit_per_minute=found.rate_limit_per_minute,
        )

    async def agentcache(self, request: Request) -> None:
        """Admit AgentCache, however many wrong secrets come from its address.

        Raises:
            Unauthenticated: the secret is wrong, which counts against the address.
            RateLimited: the address has used up its requests.
        """
        security_log.identify("agentcache")
        await self._admit(request, self._agentcache_secrets)

    async def edge(self, request: Request) -> None:
        """Admit a Worker, however many wrong secrets come from its address.

        Raises:
            Unauthenticated: the secret is wrong, which counts against the address.
            RateLimited: the address has used up its requests.
        """
        security_log.identify("edge")
        await self._admit(request, self._edge_secrets)

    async def link_owner(self, request: Request, asset_id: UUID, *, epoch: int) -> UUID:
        """The account behind a signed link of an epoch. Requests by links have a count of their own beside
        the account's: whoever shares a link does not lose the API to those who use it.

        Raises:
            AssetNotFound, AccountSuspended, RateLimited: as their names say.
            LinkRevoked: the account's links were revoked since.
        """
        owner = await self._accounts.link_owner(asset_id)
        if owner is None:
            raise AssetNotFound
        security_log.identify("link", account_id=owner.account_id)
        if owner.status == "suspended":
            raise AccountSuspended
        if owner.epoch != epoch:
            raise LinkRevoked
        await self._limits.count_link(request, owner.account_id, limit=owner.rate_limit_per_minute)
        return owner.account_id

    async def _admit(self, request: Request, secrets: Sequence[str]) -> None:
        given = bearer_token(request)
        if not any(signing.matches(given, secret) for secret in secrets):
            await self._refuse(request)

    def _remember(self, api_key: str, digest: str) -> None:
        self._lately_right.pop((api_key, digest), None)
        self._lately_right[api_key, digest] = None
        if len(self._lately_right) > _MOST_REMEMBERED:
            del self._lately_right[next(iter(self._lately_right))]

    async def _refuse(self, request: Request) -> NoReturn:
        await self._limits.count_address(request)
        raise Unauthenticated


@raises(Unauthenticated, AccountSuspended, RateLimited)
@with_tenants_pair
async def _check_tenant(request: Request) -> None:
    request.state.tenant = await find(request, Access).tenant(request)


@raises(Unauthenticated, RateLimited)
@wants(_agentcache)
async def _check_agentcache(request: Request) -> None:
    await find(request, Access).agentcache(request)


@raises(Unauthenticated, RateLimited)
@wants(_edge)
async def _check_edge(request: Request) -> None:
    await find(request, Access).edge(request)


async def _tenant(request: Request) -> Tenant:
    tenant: Tenant = request.state.tenant
    return tenant


# Routes of tenants, AgentCache and Workers: credentials are checked before a body is read.
TenantRoute = guarded(_check_tenant)
AgentCacheRoute = guarded(_check_agentcache)
EdgeRoute = guarded(_check_edge)

CurrentTenant = Annotated[Tenant, Depends(_tenant)]
