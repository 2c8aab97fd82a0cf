"""A database, a broker and a bucket of the version before, upgraded as docs/operations.md says.

The version before is checked out of the repository's history, started on servers of this module's own and
filled; the tests look at what the services of this version make of it. The services connect as a user who may
make no roles, so that the whole of the documented way is taken.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import aio_pika
import psycopg
import pytest
import pytest_asyncio
from psycopg import sql
from psycopg.rows import dict_row
from tests.support.commands import jettythunder
from tests.support.gateway import Tenant, World, opened_world, problem
from tests.support.history import checksums, count_messages, deliver_again, is_settled
from tests.support.infrastructure import (
    Infrastructure,
    Services,
    choose_first_port,
    running_infrastructure,
    temporary_folder,
)
from tests.support.usage_cli import UsageCli
from tests.support.waiting import eventually
from tests.upgrade.fill import (
    Manifest,
    StoredAsset,
    complete_session,
    content,
    open_session,
    read,
    send_chunk,
)
from tests.upgrade.manual import shell, upgrading
from tests.upgrade.previous import PreviousVersion, checked_out

from jettythunder.broker import topology
from jettythunder.contracts.accounts import ResumeAccountV1
from jettythunder.contracts.envelope import Event
from jettythunder_dev.environment import read_environment
from jettythunder_dev.layout import find_layout
from jettythunder_dev.ports import PortAllocator
from jettythunder_dev.services import GATEWAY
from jettythunder_dev.stack import Stack, StackOptions

pytestmark = [pytest.mark.deep, pytest.mark.timeout(900)]

# As the page names the user of the services.
SERVICES_USER = "services"
REVISION_BEFORE = "0007"
SETTLE_SECONDS = 120.0


@dataclass(frozen=True)
class Upgraded:
    """What came of the upgrade.

    `refused` is what the migration said before the roles were there. `accounts` and `assets` are the rows
    as the migrations left them, before a service of this version ran.
    """

    manifest: Manifest
    refused: str
    revision_after_refusal: str
    accounts: dict[str, dict[str, Any]]
    assets: dict[str, dict[str, Any]]
    services: Services
    looked: str


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgraded]:
    """Servers that the fill script filled by way of the version before, and this version's services."""
    with (
        running_infrastructure(migrated=False, declared=False) as infrastructure,
        temporary_folder() as folder,
        checked_out(tmp_path_factory.mktemp("checkout")) as checkout,
    ):
        servers = _servers(infrastructure, _make_database(infrastructure.database_url))
        with closing(PortAllocator(remembered={}, held={})) as allocator:
            gateway_port = allocator.choose(GATEWAY, choose_first_port())
        before = PreviousVersion(checkout, folder / "stack", servers, gateway_port)
        before.start()
        try:
            layout = find_layout(before.data_dir, {})
            manifest = before.fill(read_environment(layout.environment_file), folder / "manifest.json")
        finally:
            before.stop()

        (_, make_roles), (_, migrate_and_declare), (_, look) = upgrading()
        refused = shell(migrate_and_declare, servers)
        assert refused.returncode != 0, "the migration passed without the services' roles"
        revision = _rows(servers, "SELECT version_num FROM alembic_version")[0]["version_num"]
        with psycopg.connect(infrastructure.database_url, autocommit=True) as dba:
            dba.execute(make_roles.encode())
        done = shell(migrate_and_declare, servers)
        assert done.returncode == 0, done.stderr
        accounts = {str(row["id"]): row for row in _rows(servers, "SELECT * FROM agentcache_accounts")}
        assets = {str(row["id"]): row for row in _rows(servers, "SELECT * FROM agentcache_assets")}

        stack = Stack(
            StackOptions(
                data_dir=before.data_dir,
                workers=2,
                gateway_port=gateway_port,
                environment=servers,
                use_docker=False,
                autorestart=False,
            )
        )
        try:
            summary = stack.up()
            services = Services(infrastructure, stack, summary.services)
            looked = shell(look, services.environment)
            assert looked.returncode == 0, looked.stdout + looked.stderr
            yield Upgraded(manifest, refused.stderr, revision, accounts, assets, services, looked.stdout)
        finally:
            stack.down()


def _make_database(database_url: str) -> str:
    """A database of a user who may do nothing but own it, by its URL."""
    password = secrets.token_urlsafe(16)
    user = sql.Identifier(SERVICES_USER)
    with psycopg.connect(database_url, autocommit=True) as owner:
        owner.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(user, sql.Literal(password)))
        owner.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(user))
        owner.execute(sql.SQL("CREATE DATABASE upgraded OWNER {}").format(user))
    address = urlsplit(database_url)
    place = f"{SERVICES_USER}:{password}@{address.hostname}:{address.port}"
    return urlunsplit((address.scheme, place, "/upgraded", "", ""))


def _servers(infrastructure: Infrastructure, database_url: str) -> dict[str, str]:
    storage = {name: value for name, value in infrastructure.environment.items() if name.startswith("LYVE_")}
    return {**storage, "DATABASE_URL": database_url, "RABBITMQ_URL": infrastructure.rabbitmq_url}


def _rows(servers: Mapping[str, str], query: sql.SQL | str) -> list[dict[str, Any]]:
    with psycopg.connect(servers["DATABASE_URL"], row_factory=dict_row) as connection:
        return connection.execute(str(query).encode()).fetchall()


@pytest.fixture(scope="module")
def manifest(upgraded: Upgraded) -> Manifest:
    return upgraded.manifest


@pytest.fixture(scope="module")
def services(upgraded: Upgraded) -> Services:
    return upgraded.services


@pytest_asyncio.fixture(scope="module")
async def world(services: Services) -> AsyncIterator[World]:
    async with opened_world(services.infrastructure, services) as opened:
        yield opened


def tenant_of(world: World, manifest: Manifest, name: str, **credentials: str) -> Tenant:
    return Tenant(world.http, world.base_url, {**manifest.accounts[name], **credentials})


def test_without_the_roles_the_migration_is_refused_and_changes_nothing(upgraded: Upgraded) -> None:
    assert "permission denied to create role" in upgraded.refused
    assert upgraded.revision_after_refusal == REVISION_BEFORE


def test_the_status_of_accounts_is_computed_from_who_is_suspended_and_what_is_used(
    upgraded: Upgraded,
) -> None:
    expected = {name: (status, status == "suspended") for name, status in upgraded.manifest.statuses.items()}
    found = {}
    for name, account in upgraded.manifest.accounts.items():
        row = upgraded.accounts[account["id"]]
        found[name] = (row["status"], row["suspended_at"] is not None)
    assert found == expected
    over = {
        name
        for name, account in upgraded.manifest.accounts.items()
        if upgraded.accounts[account["id"]]["over_quota"]
    }
    assert over == {"over_quota", "suspended_over_quota"}


def test_hashes_are_verified_where_the_gateway_computed_them(upgraded: Upgraded) -> None:
    by_form = {asset.id for asset in upgraded.manifest.form_assets.values()}
    by_session = {asset.id for asset in upgraded.manifest.session_assets.values()}
    for asset_id, row in upgraded.assets.items():
        assert row["content_hash_verified"] == row["serves_duplicates"] == (asset_id not in by_session)
    assert by_form | by_session <= upgraded.assets.keys()


async def test_the_master_key_of_before_is_the_first_of_the_ring(upgraded: Upgraded) -> None:
    code, printed = await jettythunder(upgraded.services.environment, "keys", "list", "--json")
    [key] = json.loads(printed)
    assert (code, key["id"], key["is_newest"]) == (0, "1", True)
    assert key["accounts"] >= len(upgraded.accounts)


async def test_everybody_has_the_quota_and_the_usage_of_before(world: World, manifest: Manifest) -> None:
    for name in manifest.accounts:
        assert await world.backstage.usage(tenant_of(world, manifest, name)) == manifest.quotas[name], name


@pytest.mark.parametrize(
    "name", ["free", "starter", "pro", "business", "enterprise", "over_quota", "rotated"]
)
async def test_credentials_are_valid(world: World, manifest: Manifest, name: str) -> None:
    answer = await tenant_of(world, manifest, name).get("/api/agentcache/quota")
    assert answer.status_code == 200, answer.text
    assert answer.json()["tier"] == ("free" if name == "over_quota" else manifest.accounts[name]["tier"])


async def test_the_pair_before_a_rotation_is_valid_in_its_grace_time(
    world: World, manifest: Manifest
) -> None:
    before = tenant_of(world, manifest, "rotated", **manifest.previous_credentials["rotated"])
    asset = manifest.form_assets["rotated"]
    assert await read(before, asset.id) == asset.content.bytes


async def test_provisioning_again_gives_the_same_credentials(world: World, manifest: Manifest) -> None:
    for name in ("pro", "rotated"):
        account = manifest.accounts[name]
        answer = await world.http.post(
            f"{world.base_url}/api/agentcache/provision",
            headers={"Authorization": f"Bearer {world.environment['AGENTCACHE_WEBHOOK_SECRET']}"},
            json={
                "agentcache_user_id": account["agentcache_user_id"],
                "agentcache_email": f"{name}@example.com",
                "tier": account["tier"],
            },
        )
        assert answer.status_code == 200, answer.text
        told = answer.json()["account"]
        assert {key: told[key] for key in ("id", "api_key", "api_secret")} == {
            key: account[key] for key in ("id", "api_key", "api_secret")
        }


async def test_who_is_suspended_is_refused_until_resumed(world: World, manifest: Manifest) -> None:
    for name, status in (("suspended", "active"), ("suspended_over_quota", "over_quota")):
        tenant = tenant_of(world, manifest, name)
        assert problem(await tenant.get("/api/agentcache/quota")) == (403, "account_suspended")
        await resume(world, tenant)
        await has_status(world, tenant, status)
    asset = manifest.form_assets["suspended"]
    assert await read(tenant_of(world, manifest, "suspended"), asset.id) == asset.content.bytes


async def test_who_is_over_quota_reads_and_does_not_write(world: World, manifest: Manifest) -> None:
    tenant = tenant_of(world, manifest, "over_quota")
    assert problem(await tenant.upload(b"more"))[1] == "storage_not_included"
    user = {"agentcache_user_id": tenant.user, "new_tier": "pro"}
    answer = await world.http.post(
        f"{world.base_url}/api/agentcache/upgrade",
        headers={"Authorization": f"Bearer {world.environment['AGENTCACHE_WEBHOOK_SECRET']}"},
        json=user,
    )
    assert answer.is_success, answer.text
    await has_status(world, tenant, "active")


async def test_assets_are_read_as_they_were_stored(world: World, manifest: Manifest) -> None:
    for asset in (*manifest.form_assets.values(), *manifest.session_assets.values()):
        if asset.account != "suspended":
            tenant = tenant_of(world, manifest, asset.account)
            assert await read(tenant, asset.id) == asset.content.bytes
            assert await read(tenant, asset.id, Range="bytes=500-599") == asset.content.bytes[500:600]
    gone = await tenant_of(world, manifest, "pro").get(f"/api/storage/stream/{manifest.deleted_asset.id}")
    assert problem(gone) == (404, "asset_not_found")


async def test_a_signed_link_of_before_has_ended(world: World, manifest: Manifest) -> None:
    assert problem(await world.http.get(manifest.stream_link)) == (403, "link_invalid")


async def test_cache_keys_lead_to_their_assets(world: World, manifest: Manifest) -> None:
    named = [
        (asset, cache_key)
        for asset in (*manifest.form_assets.values(), *manifest.session_assets.values())
        for cache_key in asset.cache_keys
    ]
    assert {cache_key for _, cache_key in named} == {"answer:1", "first", "second", "film", "kept"}
    for asset, cache_key in named:
        tenant = tenant_of(world, manifest, asset.account)
        answer = await tenant.get("/api/storage/download", params={"cache_key": cache_key})
        assert answer.status_code == 200, answer.text
        assert answer.json()["asset"]["id"] == asset.id
        assert (await world.http.get(answer.json()["url"])).content == asset.content.bytes


async def test_an_open_session_is_continued_and_completed(world: World, manifest: Manifest) -> None:
    session = manifest.open_session
    tenant = tenant_of(world, manifest, session.account)
    upload = (await tenant.get(f"/api/storage/uploads/{session.id}")).json()["upload"]
    assert [chunk["number"] for chunk in upload["received"]] == session.stored
    assert upload["missing"] == [[2, 2]]
    await send_chunk(tenant, session.id, session.content, 2)
    asset = await complete_session(tenant, session.id, session.content)
    assert await read(tenant, asset["id"]) == session.content.bytes


async def test_an_aborted_session_stays_aborted(world: World, manifest: Manifest) -> None:
    tenant = tenant_of(world, manifest, "business")
    path = f"/api/storage/uploads/{manifest.aborted_session_id}"
    assert (await tenant.get(path)).json()["upload"]["status"] == "aborted"
    answer = await tenant.call("POST", f"{path}/tokens", json={"numbers": [1]})
    assert problem(answer) == (409, "upload_not_open")


async def test_the_same_bytes_are_stored_once(world: World, manifest: Manifest) -> None:
    asset = manifest.form_assets["again"]
    tenant = tenant_of(world, manifest, asset.account)
    again = await tenant.store(asset.content.bytes, cache_key="third")
    assert (again["deduplicated"], again["id"]) == (True, asset.id)
    await holds_what_was_stored(world, tenant, asset)


async def test_a_claimed_hash_finds_duplicates_once_it_is_verified(world: World, manifest: Manifest) -> None:
    asset = manifest.session_assets["claimed"]
    tenant = tenant_of(world, manifest, asset.account)
    again = await tenant.store(asset.content.bytes)
    assert (again["deduplicated"], again["id"]) == (True, asset.id)
    assert again["content_hash_verified"]


async def test_an_asset_of_before_is_deleted_and_its_storage_free(world: World, manifest: Manifest) -> None:
    tenant = tenant_of(world, manifest, "starter")
    kept = await tenant.store(b"new bytes of this version")
    answer = await tenant.call("DELETE", f"/api/storage/assets/{manifest.form_assets['small'].id}")
    assert answer.is_success, answer.text
    await world.backstage.holds_exactly(tenant, kept)


async def test_uploads_of_this_version_work_for_accounts_of_before(world: World, manifest: Manifest) -> None:
    tenant = tenant_of(world, manifest, "rotated")
    by_form = await tenant.store(b"r" * 20_000_000)
    file = content(11_000_000)
    upload = await open_session(tenant, file)
    for number in range(1, upload["chunk_count"] + 1):
        await send_chunk(tenant, upload["id"], file, number)
    by_session = await complete_session(tenant, upload["id"], file)
    assert await read(tenant, by_session["id"]) == file.bytes
    kept = await stored(world, manifest.form_assets["rotated"])
    await world.backstage.holds_exactly(tenant, kept, by_form, by_session)


async def test_an_asset_whose_time_is_over_goes(world: World, manifest: Manifest) -> None:
    tenant = tenant_of(world, manifest, "pro")
    await world.backstage.pool.execute(
        "UPDATE agentcache_assets SET expires_at = now() WHERE id = $1", manifest.expiring_asset.id
    )
    await holds_what_was_stored(world, tenant, manifest.form_assets["multipart"])


async def test_a_message_that_waited_for_its_next_attempt_is_taken(world: World, manifest: Manifest) -> None:
    await has_account(world, manifest.waiting_user, "pro")


async def test_dead_letters_of_before_are_listed_and_retried(
    world: World, upgraded: Upgraded, services: Services
) -> None:
    manifest = upgraded.manifest
    assert all(code in upgraded.looked for code in ("UnknownTier", "AccountNotFound")), upgraded.looked

    sign_up = manifest.dead_sign_up
    arguments = ("--set", 'data.tier="pro"', "--yes")
    code, printed = await jettythunder(
        services.environment, "dead-letters", "edit-and-retry", sign_up["message_id"], *arguments
    )
    assert code == 0, printed
    await has_account(world, sign_up["user"], "pro")

    tier_change = manifest.dead_tier_change
    answer = await world.http.post(
        f"{world.base_url}/api/agentcache/provision",
        headers={"Authorization": f"Bearer {world.environment['AGENTCACHE_WEBHOOK_SECRET']}"},
        json={
            "agentcache_user_id": tier_change["user"],
            "agentcache_email": "late@example.com",
            "tier": "pro",
        },
    )
    assert answer.status_code == 201, answer.text
    code, printed = await jettythunder(
        services.environment, "dead-letters", "retry", tier_change["message_id"]
    )
    assert code == 0, printed
    await has_account(world, tier_change["user"], "business")


@pytest.mark.parametrize("queue", topology.event_queues(), ids=lambda queue: queue.name)
async def test_replaying_the_events_of_before_changes_nothing(
    world: World, services: Services, queue: topology.ConsumerQueue
) -> None:
    pool = world.backstage.pool
    await eventually(lambda: is_settled(pool), timeout_seconds=SETTLE_SECONDS)
    before, handled_before = await checksums(pool), await count_messages(services, queue.name)
    code, printed = await jettythunder(services.environment, "events", "replay", "--to", queue.name)
    assert code == 0, printed
    # A replay spares the consumers what they have processed; that they would pass it over is theirs to show.
    delivered = await deliver_again(services.environment["RABBITMQ_URL"], queue)

    async def all_handled() -> bool:
        return await count_messages(services, queue.name) >= handled_before + delivered

    await eventually(all_handled, timeout_seconds=SETTLE_SECONDS)
    await eventually(lambda: is_settled(pool), timeout_seconds=SETTLE_SECONDS)
    assert await checksums(pool) == before


async def test_the_ledger_equals_the_bucket_and_the_log(services: Services) -> None:
    usage = UsageCli(services.environment)

    async def no_drift() -> bool:
        reconciled = await usage("reconcile", "--all", "--json")
        assert reconciled.code == 0, reconciled.output + reconciled.errors
        assert reconciled.json
        assert [line for line in reconciled.json if not line["is_clean"]] == []
        return True

    await eventually(no_drift, timeout_seconds=SETTLE_SECONDS, poll_seconds=2)
    rebuilt = await usage("rebuild", "--all", "--json")
    assert rebuilt.code == 0, rebuilt.output + rebuilt.errors


async def resume(world: World, tenant: Tenant) -> None:
    """End an account's suspension, as operators do."""
    payload = ResumeAccountV1(agentcache_user_id=tenant.user)
    event = Event[ResumeAccountV1](source="/test", type=payload.TYPE, data=payload)
    async with await aio_pika.connect(world.environment["RABBITMQ_URL"]) as connection:
        exchange = await (await connection.channel()).get_exchange(topology.COMMANDS)
        message = aio_pika.Message(event.encode(), message_id=str(event.id), type=payload.TYPE)
        await exchange.publish(message, payload.TYPE)


async def has_status(world: World, tenant: Tenant, status: str) -> None:
    async def found() -> bool:
        query = "SELECT status FROM agentcache_accounts WHERE id = $1"
        return bool(await world.backstage.pool.fetchval(query, tenant.account_id) == status)

    await eventually(found, timeout_seconds=SETTLE_SECONDS)


async def has_account(world: World, user: str, tier: str) -> None:
    async def found() -> bool:
        query = "SELECT agentcache_tier FROM agentcache_accounts WHERE agentcache_user_ref = $1"
        return bool(await world.backstage.pool.fetchval(query, user) == tier)

    await eventually(found, timeout_seconds=SETTLE_SECONDS)


async def stored(world: World, asset: StoredAsset) -> dict[str, Any]:
    row = await world.backstage.pool.fetchrow(
        "SELECT s3_key, size_bytes FROM agentcache_assets WHERE id = $1", asset.id
    )
    assert row is not None
    return dict(row)


async def holds_what_was_stored(world: World, tenant: Tenant, *assets: StoredAsset) -> None:
    """Wait until the account has these assets and nothing else, anywhere."""
    kept = [await stored(world, asset) for asset in assets]
    await world.backstage.holds_exactly(tenant, *kept, timeout_seconds=SETTLE_SECONDS)
