"""What a gateway writes to its log when it is attacked, and when tenants delete."""

from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import svcs
from fastapi import APIRouter, FastAPI
from tests.support.logs import WrittenLog

from jettythunder.contracts.accounts import AccountReply
from jettythunder.http.app import metrics
from jettythunder.http.callers import Callers
from jettythunder.http.operators import MetricsRoute, OperatorAccess
from jettythunder.http.problems import answer_problems
from jettythunder.settings import ServiceSettings
from jettythunder.signing import secret_digest
from storage_gateway.access.credentials import Access
from storage_gateway.access.limits import Limits
from storage_gateway.access.model import LinkOwner, Taken
from storage_gateway.access.store import Found
from storage_gateway.accounts import routes as account_routes
from storage_gateway.accounts.commands import Accounts
from storage_gateway.assets import routes as asset_routes
from storage_gateway.assets.delete import Deleter
from storage_gateway.uploads import routes as upload_routes
from storage_gateway.uploads.sessions import Sessions

ACCOUNT_ID = uuid4()
KEY, SECRET, WEBHOOK_SECRET = "jt_test_key", "jts_of_the_key", "a secret of AgentCache"
RIGHT = {"Authorization": f"Bearer {KEY}", "X-API-Secret": SECRET}
WRONG = {"Authorization": "Bearer jt_test_guess", "X-API-Secret": "jts_guess"}
SETTINGS = ServiceSettings(
    database_url="postgresql://nobody@localhost/none",
    rabbitmq_url="amqp://nobody@localhost/",
    jettythunder_ops_token="the token of operators, thirty-two long",
)


class Servers:
    """Everything behind the routes, in memory: one account, which may be out of requests."""

    def __init__(self) -> None:
        self.requests_left = 1_000

    async def authenticate(self, *, api_key: str, secret_digest: str) -> Found | None:
        if api_key != KEY:
            return None
        self.requests_left -= 1
        return Found(
            account_id=ACCOUNT_ID,
            agentcache_user_ref="user",
            tier="pro",
            status="active",
            epoch=1,
            secret_digest=_DIGEST,
            s3_prefix="accounts/a/",
            jetty_speed_enabled=True,
            storage_quota_gb=2,
            bandwidth_quota_gb=10,
            max_file_size_mb=500,
            rate_limit_per_minute=60,
            allowed=self.requests_left >= 0,
            remaining=max(0, self.requests_left),
            reset_seconds=1,
        )

    async def link_owner(self, asset_id: UUID) -> LinkOwner | None:
        return None

    async def take_request(self, *, subject: str, request_limit: int, window_seconds: float) -> Taken:
        return Taken(True, 1, 1)

    async def forget_counters(self, *, older_than_seconds: float) -> None:
        pass

    async def delete(self, account_id: UUID, asset_ids: list[UUID], *, reason: object) -> list[UUID]:
        return asset_ids

    async def abort(self, account_id: UUID, upload_id: UUID) -> None:
        pass

    async def ask(self, command: object) -> AccountReply:
        return AccountReply(
            created=False,
            id=ACCOUNT_ID,
            agentcache_user_id="user",
            agentcache_email="user@example.com",
            api_key="jt_test_next",
            api_secret="jts_next",
            tier="pro",
            storage_quota_gb=1,
            bandwidth_quota_gb=1,
            jetty_speed_enabled=True,
            rate_limit_per_minute=1,
            max_file_size_mb=1,
            s3_bucket="bucket",
            s3_prefix="prefix/",
            status="active",
        )


_DIGEST = secret_digest(SECRET)


@pytest.fixture
def servers() -> Servers:
    return Servers()


@pytest.fixture
def log() -> Iterator[WrittenLog]:
    with WrittenLog.of(SETTINGS) as written:
        yield written


@pytest.fixture
async def gateway(servers: Servers) -> AsyncIterator[httpx.AsyncClient]:
    registry = svcs.Registry()
    limits = Limits(servers, window_seconds=60, max_requests=1_000)
    registry.register_value(Access, Access(servers, limits, agentcache_secrets=[WEBHOOK_SECRET]))
    for kind in (Deleter, Sessions, Accounts):
        registry.register_value(kind, servers)
    app = FastAPI()
    app.state.settings = SETTINGS
    answer_problems(app)
    app.add_middleware(Callers)
    for router in (asset_routes.router, upload_routes.router, account_routes.router):
        app.include_router(router)
    app.state.operator_access = OperatorAccess(SETTINGS.operator_tokens)
    router = APIRouter(route_class=MetricsRoute)
    router.add_api_route("/metrics", metrics)
    app.include_router(router)

    async def with_registry(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = {"svcs_registry": registry}
        await app(scope, receive, send)

    transport = httpx.ASGITransport(with_registry, client=("192.0.2.1", 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def test_wrong_credentials_are_written_with_key_address_and_path(
    gateway: httpx.AsyncClient, log: WrittenLog
) -> None:
    await gateway.get(f"/api/storage/assets/{uuid4()}", headers=WRONG)
    [line] = log.security_events()
    assert line["event"] == "authentication_failed"
    assert (line["code"], line["caller"]) == ("unauthenticated", "tenant")
    assert line["key_id"] == secret_digest("jt_test_guess")[:8]
    assert (line["address"], line["method"]) == ("192.0.2.1", "GET")
    assert line["path"] == "/api/storage/assets/{asset_id}"
    assert "account_id" not in line


async def test_a_wrong_secret_of_a_known_key_names_the_account(
    gateway: httpx.AsyncClient, log: WrittenLog
) -> None:
    await gateway.get("/api/storage/assets", headers={**RIGHT, "X-API-Secret": "jts_guess"})
    [line] = log.security_events()
    assert (line["event"], line["account_id"]) == ("authentication_failed", str(ACCOUNT_ID))


async def test_wrong_tokens_of_operators_and_of_agentcache_are_told_apart(
    gateway: httpx.AsyncClient, log: WrittenLog
) -> None:
    await gateway.get("/metrics", headers={"Authorization": "Bearer a guess"})
    await gateway.post("/api/agentcache/suspend", headers={"Authorization": "Bearer a guess"})
    assert [(line["event"], line["caller"]) for line in log.security_events()] == [
        ("operator_refused", "operator"),
        ("authentication_failed", "agentcache"),
    ]


async def test_an_account_over_its_limit_is_written(
    gateway: httpx.AsyncClient, log: WrittenLog, servers: Servers
) -> None:
    servers.requests_left = 0
    await gateway.get("/api/storage/assets", headers=RIGHT)
    [line] = log.security_events()
    assert (line["event"], line["code"]) == ("rate_limited", "rate_limited")
    assert line["account_id"] == str(ACCOUNT_ID)


async def test_what_a_tenant_deletes_and_aborts_is_written(
    gateway: httpx.AsyncClient, log: WrittenLog
) -> None:
    asset_ids, upload_id = [str(uuid4()) for _ in range(150)], uuid4()
    await gateway.delete(f"/api/storage/assets/{asset_ids[0]}", headers=RIGHT)
    await gateway.post("/api/storage/assets/bulk-delete", headers=RIGHT, json={"asset_ids": asset_ids})
    await gateway.delete(f"/api/storage/uploads/{upload_id}", headers=RIGHT)
    one, *many, aborted = log.security_events()
    assert (one["event"], one["asset_ids"]) == ("assets_deleted", asset_ids[:1])
    assert [deleted["count"] for deleted in many] == [100, 50]
    assert [asset for deleted in many for asset in deleted["asset_ids"]] == asset_ids
    assert (aborted["event"], aborted["upload_id"]) == ("upload_aborted", str(upload_id))
    for line in (one, *many, aborted):
        assert line["account_id"] == str(ACCOUNT_ID)
        assert line["key_id"] == secret_digest(KEY)[:8]
        assert line["address"] == "192.0.2.1"


async def test_what_agentcache_does_to_accounts_is_written(
    gateway: httpx.AsyncClient, log: WrittenLog
) -> None:
    for call in ("rotate", "suspend", "resume"):
        answer = await gateway.post(
            f"/api/agentcache/{call}",
            headers={"Authorization": f"Bearer {WEBHOOK_SECRET}"},
            json={"agentcache_user_id": "user"},
        )
        assert answer.status_code == 200
    lines = log.security_events()
    assert [line["event"] for line in lines] == [
        "credentials_rotated",
        "account_suspended",
        "account_resumed",
    ]
    assert all(line["account_id"] == str(ACCOUNT_ID) and line["caller"] == "agentcache" for line in lines)
    assert lines[0]["key_id"] == secret_digest("jt_test_next")[:8]


async def test_no_secret_stands_in_a_line(gateway: httpx.AsyncClient, log: WrittenLog) -> None:
    await gateway.delete(f"/api/storage/assets/{uuid4()}", headers=RIGHT)
    await gateway.get("/api/storage/assets?signature=of-a-link", headers=WRONG)
    await gateway.get("/metrics", headers={"Authorization": "Bearer a-guess"})
    agentcache = {"Authorization": f"Bearer {WEBHOOK_SECRET}"}
    await gateway.post("/api/agentcache/rotate", headers=agentcache, json={"agentcache_user_id": "user"})
    assert len(log.security_events()) == 4
    for secret in (KEY, SECRET, "jt_test_guess", "jts_guess", "of-a-link", "a-guess", WEBHOOK_SECRET):
        assert secret not in log.text
    assert "jt_test_next" not in log.text
    assert "jts_next" not in log.text
    assert "user@example.com" not in log.text
