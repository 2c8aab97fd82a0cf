"""The limit of an address: whom it is for, what it costs, and whom it leaves alone."""

from collections import Counter
from uuid import UUID, uuid4

from starlette.requests import Request

from jettythunder.errors import RateLimited, Unauthenticated
from jettythunder.signing import secret_digest
from storage_gateway.access.credentials import Access
from storage_gateway.access.limits import Limits
from storage_gateway.access.model import LinkOwner, Taken
from storage_gateway.access.store import Found

SECRETS = ("the new secret of AgentCache", "the old secret of AgentCache")
LIMIT = 3
FOUND = Found(
    account_id=uuid4(),
    agentcache_user_ref="user",
    tier="pro",
    status="active",
    epoch=0,
    secret_digest=secret_digest("right"),
    s3_prefix="accounts/a/",
    jetty_speed_enabled=True,
    storage_quota_gb=2,
    bandwidth_quota_gb=10,
    max_file_size_mb=500,
    rate_limit_per_minute=60,
    allowed=True,
    remaining=59,
    reset_seconds=1,
)


class Gateway:
    """Access with a database in memory that counts its statements, and a clock that is set."""

    def __init__(self) -> None:
        self.statements = 0
        self.now = 0.0
        self.counted: Counter[str] = Counter()
        limits = Limits(self, window_seconds=60, max_requests=LIMIT, clock=lambda: self.now)
        self.access = Access(self, limits, agentcache_secrets=SECRETS)

    async def authenticate(self, *, api_key: str, secret_digest: str) -> Found | None:
        self.statements += 1
        return FOUND if api_key == "key" else None

    async def link_owner(self, asset_id: UUID) -> LinkOwner | None:
        return None

    async def take_request(self, *, subject: str, request_limit: int, window_seconds: float) -> Taken:
        self.statements += 1
        self.counted[subject] += 1
        left = request_limit - self.counted[subject]
        return Taken(left >= 0, max(0, left), 30)

    async def forget_counters(self, *, older_than_seconds: float) -> None:
        self.counted.clear()

    async def tenant(self, key: str, secret: str, *, host: str = "192.0.2.1") -> str:
        return await self._outcome(self.access.tenant(request(f"Bearer {key}", secret, host=host)))

    async def agentcache(self, secret: str, *, host: str = "192.0.2.1") -> str:
        return await self._outcome(self.access.agentcache(request(f"Bearer {secret}", host=host)))

    @staticmethod
    async def _outcome(call: object) -> str:
        try:
            await call  # type: ignore[misc]
        except (Unauthenticated, RateLimited) as refusal:
            return refusal.code
        return "in"


def request(authorization: str, secret: str = "", *, host: str = "192.0.2.1") -> Request:
    headers = [(b"authorization", authorization.encode()), (b"x-api-secret", secret.encode())]
    return Request({"type": "http", "method": "GET", "headers": headers, "client": (host, 1)})


async def test_an_address_over_its_limit_costs_the_database_nothing() -> None:
    gateway = Gateway()
    outcomes = [await gateway.tenant("key", "wrong") for _ in range(LIMIT + 1)]
    assert outcomes == ["unauthenticated"] * LIMIT + ["rate_limited"]
    before = gateway.statements
    assert [await gateway.tenant("key", "wrong") for _ in range(50)] == ["rate_limited"] * 50
    assert [await gateway.agentcache("wrong") for _ in range(50)] == ["rate_limited"] * 50
    assert gateway.statements == before


async def test_an_address_is_asked_for_again_when_its_time_is_over() -> None:
    gateway = Gateway()
    for _ in range(LIMIT + 1):
        await gateway.tenant("key", "wrong")
    gateway.counted.clear()
    assert await gateway.tenant("key", "wrong") == "rate_limited"
    gateway.now = 31
    assert await gateway.tenant("key", "wrong") == "unauthenticated"


async def test_agentcache_is_let_in_whatever_comes_from_its_address() -> None:
    gateway = Gateway()
    for _ in range(50):
        await gateway.agentcache("wrong")
    assert await gateway.agentcache("wrong") == "rate_limited"
    for secret in SECRETS:
        assert [await gateway.agentcache(secret) for _ in range(50)] == ["in"] * 50


async def test_a_tenant_who_was_right_lately_is_let_in_whatever_comes_from_its_address() -> None:
    gateway = Gateway()
    assert await gateway.tenant("key", "right") == "in"
    for _ in range(50):
        await gateway.tenant("key", "wrong")
    assert await gateway.tenant("key", "right") == "in"
    assert await gateway.tenant("key", "wrong") == "rate_limited"


async def test_a_pair_that_is_no_longer_right_is_forgotten() -> None:
    gateway = Gateway()
    assert await gateway.tenant("key", "right") == "in"
    gateway.authenticate = _nobody  # type: ignore[method-assign]
    assert await gateway.tenant("key", "right") == "unauthenticated"


async def _nobody(*, api_key: str, secret_digest: str) -> Found | None:
    return None


async def test_other_addresses_are_not_touched() -> None:
    gateway = Gateway()
    for _ in range(50):
        await gateway.tenant("key", "wrong")
    assert await gateway.tenant("key", "wrong", host="192.0.2.2") == "unauthenticated"
