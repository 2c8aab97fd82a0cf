"""Who may call: tenants by key and secret, AgentCache by its bearer token, everybody within limits."""

from typing import Annotated, NoReturn

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from jettythunder import auth
from jettythunder.database import Pool
from jettythunder.errors import AccountSuspended, RateLimited, Unauthenticated
from storage_gateway.domain import GIGABYTE, MEGABYTE, Tenant
from storage_gateway.repository import Repository, Row

RATE_LIMIT_STATE = "rate_limit_headers"

_bearer = HTTPBearer(auto_error=False, description="A tenant's API key (jt_…), or AgentCache's secret")
_secret = APIKeyHeader(name="X-API-Secret", auto_error=False, description="A tenant's API secret (jts_…)")

_LONGEST_CREDENTIAL = 512


class Access:
    """Checks credentials and counts requests, in one database round trip for a tenant."""

    def __init__(
        self,
        *,
        pool: Pool,
        repository: Repository,
        webhook_secret: str,
        window_seconds: float,
        max_requests: int,
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._webhook_secret = webhook_secret
        self._window_seconds = window_seconds
        self._max_requests = max_requests

    async def tenant(self, request: Request, api_key: str | None, api_secret: str | None) -> Tenant:
        """The account of these credentials.

        Raises:
            Unauthenticated: they are missing or wrong; counted against the address.
            RateLimited: the account's requests of this minute are used up.
        """
        if not api_key or not api_secret or max(len(api_key), len(api_secret)) > _LONGEST_CREDENTIAL:
            await self.refuse(request)
        digest = auth.secret_digest(api_secret)
        found = await self._repository.authenticate(self._pool, api_key=api_key, secret_digest=digest)
        # An unknown key is compared as well, so that its answer takes no other time.
        expected = found["secret_digest"] if found is not None else auth.secret_digest("")
        if not auth.matches(digest, expected) or found is None:
            await self.refuse(request)
        if found["status"] == "suspended":
            raise AccountSuspended
        self._note(request, found, limit=found["rate_limit_per_minute"], window_seconds=60)
        return Tenant(
            account_id=found["account_id"],
            agentcache_user_ref=found["agentcache_user_ref"],
            tier=found["tier"],
            status=found["status"],
            s3_prefix=found["s3_prefix"],
            jetty_speed_enabled=found["jetty_speed_enabled"],
            storage_quota_bytes=found["storage_quota_gb"] * GIGABYTE,
            bandwidth_quota_bytes=found["bandwidth_quota_gb"] * GIGABYTE,
            max_file_size_bytes=found["max_file_size_mb"] * MEGABYTE,
            rate_limit_per_minute=found["rate_limit_per_minute"],
        )

    async def agentcache(self, request: Request, token: str | None) -> None:
        """Let AgentCache in, within the limit of its address.

        Raises:
            RateLimited, Unauthenticated: as their names say.
        """
        await self._count_address(request)
        if token is None or not auth.matches(token, self._webhook_secret):
            raise Unauthenticated

    async def signed(self, request: Request, owner: Row) -> None:
        """Count the use of a signed link as a request of the account that owns what it points to."""
        if owner["status"] == "suspended":
            raise AccountSuspended
        limit = owner["rate_limit_per_minute"]
        taken = await self._repository.take_request(
            self._pool, subject=f"account:{owner['account_id']}", request_limit=limit, window_seconds=60
        )
        self._note(request, taken, limit=limit, window_seconds=60)

    async def refuse(self, request: Request) -> NoReturn:
        """Refuse a call without valid credentials, which counts against its address."""
        await self._count_address(request)
        raise Unauthenticated

    async def _count_address(self, request: Request) -> None:
        address = request.client.host if request.client else "unknown"
        taken = await self._repository.take_request(
            self._pool,
            subject=f"address:{address}",
            request_limit=self._max_requests,
            window_seconds=self._window_seconds,
        )
        self._note(request, taken, limit=self._max_requests, window_seconds=self._window_seconds)

    def _note(self, request: Request, taken: Row, *, limit: int, window_seconds: float) -> None:
        reset = max(1, round(taken["reset_seconds"]))
        request.scope.setdefault("state", {})[RATE_LIMIT_STATE] = [
            (b"ratelimit-limit", str(limit).encode()),
            (b"ratelimit-remaining", str(taken["remaining"]).encode()),
            (b"ratelimit-reset", str(reset).encode()),
            (b"ratelimit-policy", f"{limit};w={round(window_seconds)}".encode()),
        ]
        if not taken["allowed"]:
            raise RateLimited(retry_after_seconds=taken["reset_seconds"])


async def _tenant(
    request: Request,
    key: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    secret: Annotated[str | None, Depends(_secret)],
) -> Tenant:
    access: Access = request.app.state.access
    return await access.tenant(request, key.credentials if key else None, secret)


async def _agentcache(
    request: Request, token: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    access: Access = request.app.state.access
    await access.agentcache(request, token.credentials if token else None)


CurrentTenant = Annotated[Tenant, Depends(_tenant)]
AgentCacheOnly = Depends(_agentcache)
