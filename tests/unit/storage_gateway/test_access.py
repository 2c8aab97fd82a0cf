"""Who may call: credentials, suspension and rate limits."""

from collections import Counter
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import pytest
from starlette.requests import Request

from jettythunder.drain import Drain
from jettythunder.errors import LinkRevoked, RateLimited, Unauthenticated
from jettythunder.http.headers import AnswerHeaders
from jettythunder.signing import secret_digest
from storage_gateway.access.credentials import Access
from storage_gateway.access.limits import Limits
from storage_gateway.access.model import LinkOwner, Taken
from storage_gateway.access.store import Found
from storage_gateway.errors import AccountSuspended, AssetNotFound

from .fakes import ACCOUNT_ID, EPOCH, made_tenant

KEY = "jt_test_key"
SECRET = "jts_secret"
ASSET_ID = uuid4()
ADDRESS = "192.0.2.1"
FOUND = Found(
    account_id=ACCOUNT_ID,
    agentcache_user_ref="user",
    tier="pro",
    status="active",
    epoch=EPOCH,
    secret_digest=secret_digest(SECRET),
    s3_prefix=f"accounts/{ACCOUNT_ID}/",
    jetty_speed_enabled=True,
    storage_quota_gb=2,
    bandwidth_quota_gb=10,
    max_file_size_mb=500,
    rate_limit_per_minute=60,
    allowed=True,
    remaining=59,
    reset_seconds=12.4,
)


@dataclass
class FakeAccess:
    """One account with one asset, and the requests that were counted by their subject."""

    account: Found = FOUND
    owner: LinkOwner | None = None
    counted: Counter[str] = field(default_factory=Counter)

    async def authenticate(self, *, api_key: str, secret_digest: str) -> Found | None:
        if api_key != KEY:
            return None
        if secret_digest != self.account.secret_digest:
            return replace(self.account, allowed=None, remaining=None, reset_seconds=None)
        self.counted[f"account:{ACCOUNT_ID}"] += 1
        return self.account

    async def link_owner(self, asset_id: UUID) -> LinkOwner | None:
        return self.owner if asset_id == ASSET_ID else None

    async def take_request(self, *, subject: str, request_limit: int, window_seconds: float) -> Taken:
        self.counted[subject] += 1
        left = request_limit - self.counted[subject]
        return Taken(left >= 0, max(0, left), window_seconds)

    async def forget_counters(self, *, older_than_seconds: float) -> None:
        self.counted.clear()


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "headers": raw, "client": (ADDRESS, 1)})


def with_credentials(key: str = KEY, secret: str = SECRET) -> Request:
    return request(authorization=f"Bearer {key}", x_api_secret=secret)


def access(accounts: FakeAccess, *, max_requests: int = 3) -> Access:
    limits = Limits(accounts, window_seconds=60, max_requests=max_requests)
    return Access(accounts, limits, agentcache_secrets=["webhook"])


async def headers_of(given: Request) -> dict[bytes, bytes]:
    """What the middleware adds to the answer to a request."""
    sent: list[dict[bytes, bytes]] = []

    async def app(scope: object, receive: object, send: object) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})  # type: ignore[operator]

    async def send(message: object) -> None:
        sent.append(dict(message["headers"]))  # type: ignore[index]

    await AnswerHeaders(app, Drain())(given.scope, given.receive, send)
    return {name: value for name, value in sent[0].items() if name.startswith(b"ratelimit")}


async def test_the_right_credentials_give_the_account_and_its_limits() -> None:
    accounts = FakeAccess()
    given = with_credentials()
    assert await access(accounts).tenant(given) == made_tenant()
    assert accounts.counted == {f"account:{ACCOUNT_ID}": 1}
    assert await headers_of(given) == {
        b"ratelimit-limit": b"60",
        b"ratelimit-remaining": b"59",
        b"ratelimit-reset": b"12",
        b"ratelimit-policy": b"60;w=60",
    }


@pytest.mark.parametrize(
    "given",
    [
        request(),
        request(authorization=f"Bearer {KEY}"),
        request(x_api_secret=SECRET),
        request(authorization=f"Basic {KEY}", x_api_secret=SECRET),
        with_credentials(key=KEY + "x"),
        with_credentials(secret=SECRET + "x"),
        with_credentials(secret="é"),
        with_credentials(key="k" * 513),
        with_credentials(secret="s" * 513),
    ],
)
async def test_missing_and_wrong_credentials_are_refused_alike_and_count_against_the_address(
    given: Request,
) -> None:
    accounts = FakeAccess()
    with pytest.raises(Unauthenticated) as caught:
        await access(accounts).tenant(given)
    assert (caught.value.detail, caught.value.extra) == (Unauthenticated().detail, {})
    assert accounts.counted == {f"address:{ADDRESS}": 1}
    assert (await headers_of(given))[b"ratelimit-limit"] == b"3"


async def test_an_address_that_guesses_is_refused_for_a_while() -> None:
    tried = access(FakeAccess())
    await tried.tenant(with_credentials())
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await tried.tenant(with_credentials(secret="guess"))
    with pytest.raises(RateLimited) as caught:
        await tried.tenant(with_credentials(secret="guess"))
    assert caught.value.retry_after_seconds == 60
    # Who has shown the right pair is not kept out.
    await tried.tenant(with_credentials())


async def test_a_digest_is_not_a_secret() -> None:
    with pytest.raises(Unauthenticated):
        await access(FakeAccess()).tenant(with_credentials(secret=secret_digest(SECRET)))


async def test_a_suspended_account_may_do_nothing() -> None:
    with pytest.raises(AccountSuspended):
        await access(FakeAccess(replace(FOUND, status="suspended"))).tenant(with_credentials())


async def test_whether_an_account_is_suspended_shows_only_with_the_right_secret() -> None:
    with pytest.raises(Unauthenticated):
        await access(FakeAccess(replace(FOUND, status="suspended"))).tenant(with_credentials(secret="wrong"))


async def test_an_account_over_its_quota_may_call() -> None:
    tenant = await access(FakeAccess(replace(FOUND, status="over_quota"))).tenant(with_credentials())
    assert tenant.status == "over_quota"


async def test_an_account_over_its_rate_limit_waits() -> None:
    given = with_credentials()
    accounts = FakeAccess(replace(FOUND, allowed=False, remaining=0, reset_seconds=0.3))
    with pytest.raises(RateLimited) as caught:
        await access(accounts).tenant(given)
    assert caught.value.retry_after_seconds == 0.3
    assert (await headers_of(given))[b"ratelimit-reset"] == b"1"


async def test_agentcache_calls_with_its_own_secret() -> None:
    await access(FakeAccess()).agentcache(request(authorization="Bearer webhook"))
    for wrong in ("Bearer wrong", f"Bearer {KEY}", "webhook", ""):
        with pytest.raises(Unauthenticated):
            await access(FakeAccess()).agentcache(request(authorization=wrong))


async def test_agentcache_s_address_has_a_limit() -> None:
    called = access(FakeAccess())
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await called.agentcache(request(authorization="Bearer wrong"))
    with pytest.raises(RateLimited):
        await called.agentcache(request(authorization="Bearer wrong"))
    # It is for wrong secrets alone.
    await called.agentcache(request(authorization="Bearer webhook"))


async def test_the_use_of_a_link_does_not_count_against_its_owner_s_own_requests() -> None:
    accounts = FakeAccess(owner=LinkOwner(ACCOUNT_ID, "active", EPOCH, 1))
    used = access(accounts)
    assert await used.link_owner(request(), ASSET_ID, epoch=EPOCH) == ACCOUNT_ID
    assert accounts.counted == {f"links:{ACCOUNT_ID}": 1}
    with pytest.raises(RateLimited):
        await used.link_owner(request(), ASSET_ID, epoch=EPOCH)


async def test_a_link_to_an_asset_that_is_gone_leads_nowhere() -> None:
    with pytest.raises(AssetNotFound):
        await access(FakeAccess()).link_owner(request(), uuid4(), epoch=EPOCH)


async def test_a_suspended_account_s_links_lead_nowhere() -> None:
    owner = LinkOwner(ACCOUNT_ID, "suspended", EPOCH, 60)
    with pytest.raises(AccountSuspended):
        await access(FakeAccess(owner=owner)).link_owner(request(), ASSET_ID, epoch=EPOCH)


@pytest.mark.parametrize("epoch", [EPOCH - 1, EPOCH + 1])
async def test_a_link_of_another_epoch_was_revoked(epoch: int) -> None:
    accounts = FakeAccess(owner=LinkOwner(ACCOUNT_ID, "active", EPOCH, 60))
    with pytest.raises(LinkRevoked):
        await access(accounts).link_owner(request(), ASSET_ID, epoch=epoch)
    assert accounts.counted == {}
