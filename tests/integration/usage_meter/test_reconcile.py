"""Reconciliation: what it finds, what it mends, and what it leaves alone."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4
from zlib import crc32

import httpx
import pytest_asyncio
from tests.support.infrastructure import Infrastructure, ServiceStarter
from tests.support.waiting import eventually

from jettythunder.contracts.assets import AssetObjectMissingV1
from jettythunder.contracts.uploads import UploadCompletedV1
from jettythunder.database import Database
from jettythunder.lifecycle import role_of
from jettythunder.storage import Storage
from usage_meter.reconciliation.model import Findings
from usage_meter.reconciliation.queue import ReconciliationQueue

from .conftest import WAIT_SECONDS, Tenant, Tenants, Wire, held_batch, metric


async def put_asset(
    tenant: Tenant,
    storage: Storage,
    size_bytes: int,
    *,
    with_object: bool = True,
    booked: bool = True,
    at: datetime | None = None,
) -> UUID:
    """An asset as a gateway stores it: the object, the row and the event."""
    asset_id = uuid4()
    key = f"accounts/{tenant.id}/{asset_id}"
    if with_object:
        await storage.put(key, b"x" * size_bytes, content_type="text/plain")
    await tenant.pool.execute(
        "INSERT INTO agentcache_assets (id, account_id, s3_key, s3_bucket, filename, content_type,"
        " size_bytes, content_hash) VALUES ($1, $2, $3, $4, 'f', 'text/plain', $5, $6)",
        asset_id,
        tenant.id,
        key,
        storage.bucket,
        size_bytes,
        asset_id.hex,
    )
    if booked:
        await tenant.processed(await tenant.store(size_bytes, asset_id=asset_id, at=at))
    return asset_id


async def reconcile(ops: httpx.AsyncClient, tenant: Tenant, *, fix: bool = False) -> dict[str, Any]:
    answer = await ops.post("/usage/reconcile", json={"account": str(tenant.id), "fix": fix})
    assert answer.status_code == 200, answer.text
    (line,) = answer.text.splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


async def test_an_account_that_is_right_is_clean(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    await storage.put(f"accounts/{tenant.id}/", b"", content_type="text/plain")
    for size_bytes in (10, 20, 30):
        await put_asset(tenant, storage, size_bytes)
    found = await reconcile(ops, tenant)
    assert (found["is_clean"], found["drift_bytes"]) == (True, 0)
    sums = {found["findings"][f"{source}_bytes"] for source in ("bucket", "assets", "ledger", "counter")}
    assert sums == {60}


async def test_an_object_nobody_knows_is_handed_over_for_deletion(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    key = f"accounts/{tenant.id}/{uuid4()}"
    await storage.put(key, b"12345", content_type="text/plain")
    found = await reconcile(ops, tenant)
    assert found["findings"]["orphans"] == [{"s3_key": key, "size_bytes": 5}]
    assert found["drift_bytes"] == 5
    count = "SELECT count(*) FROM object_deletions WHERE s3_key = $1"
    assert await tenant.pool.fetchval(count, key) == 0
    await reconcile(ops, tenant, fix=True)
    assert await tenant.pool.fetchval(count, key) == 1
    assert (await reconcile(ops, tenant))["is_clean"]


async def test_the_object_of_an_open_upload_is_left_alone(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    key = f"accounts/{tenant.id}/{uuid4()}"
    await storage.put(key, b"12345", content_type="text/plain")
    await tenant.pool.execute(
        "INSERT INTO uploads (id, account_id, kind, filename, content_type, s3_bucket, s3_key,"
        " correlation_id, expires_at) VALUES ($1, $2, 'form', 'f', '', $3, $4, '', now() + '1 hour')",
        uuid4(),
        tenant.id,
        storage.bucket,
        key,
    )
    assert (await reconcile(ops, tenant))["is_clean"]


async def test_an_asset_without_its_object_is_told_of(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage, wire: Wire
) -> None:
    asset_id = await put_asset(tenant, storage, 40, with_object=False)
    assert (await reconcile(ops, tenant))["drift_bytes"] == 40
    await reconcile(ops, tenant, fix=True)

    async def told() -> bool:
        events = await wire.logged(AssetObjectMissingV1, tenant.id)
        assert [(e.data.asset_id, e.data.found_bytes) for e in events] == [(asset_id, None)]
        return True

    await eventually(told, timeout_seconds=WAIT_SECONDS)


async def test_an_upload_that_was_never_booked_is_adjusted(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    asset_id = await put_asset(tenant, storage, 50, booked=False)
    found = await reconcile(ops, tenant)
    assert found["findings"]["ledger_drift"] == [
        {"asset_id": str(asset_id), "ledger_bytes": 0, "asset_bytes": 50}
    ]
    await reconcile(ops, tenant, fix=True)
    assert (await tenant.quota())["storage_used_bytes"] == 50
    assert (await reconcile(ops, tenant))["is_clean"]
    await tenant.proves_its_counters()


async def test_the_ledger_is_left_alone_while_events_lie_in_the_dead_letters(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage, wire: Wire
) -> None:
    await put_asset(tenant, storage, 50, booked=False)
    message_id = str(uuid4())
    await wire.send(b"{}", UploadCompletedV1.TYPE, message_id)
    await eventually(wire.dead_letters, timeout_seconds=WAIT_SECONDS)
    found = await reconcile(ops, tenant, fix=True)
    assert (found["needs_a_person"], found["findings"]["mended"]) == (True, [])
    assert (await tenant.quota())["storage_used_bytes"] == 0
    await wire.dead_letter(message_id)
    assert not (await reconcile(ops, tenant, fix=True))["needs_a_person"]
    assert (await tenant.quota())["storage_used_bytes"] == 50


async def lost_upload(tenant: Tenant, storage: Storage, size_bytes: int) -> UUID:
    """An upload that reserved and was completed, and whose event never comes; its asset."""
    asset_id = await put_asset(tenant, storage, size_bytes, booked=False)
    assert await tenant.reserve(size_bytes, upload_id=asset_id)
    await tenant.pool.execute(
        "INSERT INTO uploads (id, account_id, kind, status, filename, content_type, s3_bucket, s3_key,"
        " correlation_id, asset_id, expires_at, updated_at)"
        " VALUES ($1, $2, 'form', 'completed', 'f', '', 'b', 'k', '', $1, now(), now() - interval '1 hour')",
        asset_id,
        tenant.id,
    )
    return asset_id


async def test_an_adjustment_for_a_lost_upload_ends_its_reservation(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    asset_id = await lost_upload(tenant, storage, 50)
    found = await reconcile(ops, tenant)
    lost = {"upload_id": str(asset_id), "asset_id": str(asset_id), "held_bytes": 50}
    assert (found["findings"]["lost_holds"], found["is_clean"]) == ([lost], False)
    assert not (await reconcile(ops, tenant, fix=True))["needs_a_person"]
    await tenant.shows(storage_used_bytes=50, storage_reserved_bytes=0)
    assert (await reconcile(ops, tenant))["is_clean"]
    await tenant.proves_its_counters()


async def test_a_reservation_is_released_whose_upload_was_adjusted_before(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    asset_id = await lost_upload(tenant, storage, 50)
    await tenant.pool.execute(
        "INSERT INTO usage_ledger (account_id, resource, kind, used_delta_bytes, reserved_delta_bytes,"
        " source_event_id, asset_id, occurred_at, reason, author)"
        " VALUES ($1, 'storage', 'adjustment', 50, 0, $2, $3, now(), 'an older version', 'usage-meter')",
        tenant.id,
        str(uuid4()),
        asset_id,
    )
    await tenant.pool.execute(
        "UPDATE account_usage SET storage_used_bytes = 50 WHERE account_id = $1", tenant.id
    )
    found = await reconcile(ops, tenant, fix=True)
    assert "1 reservations of completed uploads released" in found["findings"]["mended"]
    await tenant.shows(storage_used_bytes=50, storage_reserved_bytes=0)
    await tenant.proves_its_counters()


async def test_an_event_that_comes_after_its_adjustment_counts_once(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    asset_id = await lost_upload(tenant, storage, 50)
    await reconcile(ops, tenant, fix=True)
    await tenant.processed(await tenant.complete(asset_id, 50, asset_id=asset_id))
    await tenant.shows(storage_used_bytes=50, storage_reserved_bytes=0)
    assert (await reconcile(ops, tenant))["is_clean"]
    await tenant.processed(await tenant.delete(50, asset_id=asset_id))
    await tenant.shows(storage_used_bytes=0)
    await tenant.proves_its_counters()


async def test_the_ledger_is_left_alone_while_its_consumer_holds_events(
    ops: httpx.AsyncClient, tenants: Tenants, storage: Storage
) -> None:
    busy, tenant = await tenants.new(), await tenants.new()
    asset_id = await lost_upload(tenant, storage, 50)
    async with held_batch(busy):
        event_id = await tenant.complete(asset_id, 50, asset_id=asset_id)
        found = await reconcile(ops, tenant, fix=True)
        assert (found["needs_a_person"], found["findings"]["mended"]) == (True, [])
    await tenant.processed(event_id)
    await tenant.shows(storage_used_bytes=50, storage_reserved_bytes=0)
    assert (await reconcile(ops, tenant))["is_clean"]


async def test_hours_that_are_not_the_ledger_s_are_computed_again(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    await put_asset(tenant, storage, 50)

    async def computed() -> bool:
        return [row["storage_bytes"] for row in await tenant.hours()] == [50]

    await eventually(computed, timeout_seconds=WAIT_SECONDS)
    await tenant.pool.execute("UPDATE storage_usage SET storage_bytes = 57 WHERE account_id = $1", tenant.id)
    found = await reconcile(ops, tenant)
    assert (found["findings"]["hours_drift_bytes"], found["drift_bytes"]) == (7, 7)
    assert not (await reconcile(ops, tenant, fix=True))["needs_a_person"]
    await eventually(computed, timeout_seconds=WAIT_SECONDS)
    assert (await reconcile(ops, tenant))["is_clean"]


async def test_a_deletion_that_was_never_booked_is_adjusted(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    asset_id = await put_asset(tenant, storage, 50)
    await tenant.pool.execute("DELETE FROM agentcache_assets WHERE id = $1", asset_id)
    await storage.delete(f"accounts/{tenant.id}/{asset_id}")
    await reconcile(ops, tenant, fix=True)
    assert (await tenant.quota())["storage_used_bytes"] == 0
    assert (await reconcile(ops, tenant))["is_clean"]


async def test_a_counter_that_lies_is_set_to_the_ledger(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    await put_asset(tenant, storage, 50)
    await tenant.pool.execute(
        "UPDATE account_usage SET storage_used_bytes = 51 WHERE account_id = $1", tenant.id
    )
    assert (await reconcile(ops, tenant))["drift_bytes"] == 1
    await reconcile(ops, tenant, fix=True)
    assert (await tenant.quota())["storage_used_bytes"] == 50


async def test_an_adjustment_by_hand_is_no_drift(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    await ops.post(
        "/usage/adjustments",
        json={
            "account": str(tenant.id),
            "resource": "storage",
            "bytes": 77,
            "reason": "a test",
            "author": "ops",
        },
    )
    found = await reconcile(ops, tenant)
    assert (found["is_clean"], found["findings"]["adjusted_bytes"]) == (True, 77)


async def look_at_folder(ops: httpx.AsyncClient, account_id: UUID, *, fix: bool = False) -> dict[str, Any]:
    """What a run over everything says about the folder of an account that is gone."""
    answer = await ops.post("/usage/reconcile", json={"fix": fix})
    assert answer.status_code == 200, answer.text
    lines: list[dict[str, Any]] = [json.loads(line) for line in answer.text.splitlines()]
    found = [line for line in lines if line["findings"]["account_id"] == str(account_id)]
    assert len(found) <= 1
    return found[0] if found else {"is_clean": True}


async def test_objects_of_an_account_that_is_gone_are_handed_over_for_deletion(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    asset_id = await put_asset(tenant, storage, 60)
    await tenant.pool.execute("DELETE FROM agentcache_accounts WHERE id = $1", tenant.id)
    key = f"accounts/{tenant.id}/{asset_id}"
    found = await look_at_folder(ops, tenant.id)
    assert found["findings"]["orphans"] == [{"s3_key": key, "size_bytes": 60}]
    assert (found["findings"]["agentcache_user_id"], found["findings"]["ledger_bytes"]) == (None, 60)
    assert (found["drift_bytes"], found["needs_a_person"]) == (60, True)
    mended = await look_at_folder(ops, tenant.id, fix=True)
    assert not mended["needs_a_person"]
    assert await tenant.pool.fetchval("SELECT true FROM object_deletions WHERE s3_key = $1", key)
    assert (await look_at_folder(ops, tenant.id))["is_clean"]


async def test_objects_of_an_account_that_never_was_are_left_alone(
    ops: httpx.AsyncClient, storage: Storage, tenant: Tenant
) -> None:
    stranger = uuid4()
    key = f"accounts/{stranger}/file"
    await storage.put(key, b"12345", content_type="text/plain")
    found = await look_at_folder(ops, stranger, fix=True)
    assert (found["drift_bytes"], found["needs_a_person"], found["findings"]["mended"]) == (5, True, [])
    assert not await tenant.pool.fetchval("SELECT true FROM object_deletions WHERE s3_key = $1", key)
    await storage.delete(key)


async def test_an_object_of_another_size_needs_a_person(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    asset_id = await put_asset(tenant, storage, 40)
    await storage.put(f"accounts/{tenant.id}/{asset_id}", b"123", content_type="text/plain")
    found = await reconcile(ops, tenant, fix=True)
    assert (found["drift_bytes"], found["needs_a_person"], found["findings"]["mended"]) == (37, True, [])


async def test_drift_is_measured_on_a_schedule(
    servers: Infrastructure, ops: httpx.AsyncClient, tenant: Tenant, storage: Storage, tmp_path: Path
) -> None:
    # What other tests have left is known before, so that the round finds nothing else.
    await ops.post("/usage/reconcile", json={})
    starter = ServiceStarter(servers, tmp_path)
    url = starter("usage-meter", {"USAGE_RECONCILE_SECONDS": "0.1"}).url
    watching = httpx.AsyncClient(base_url=url, headers=ops.headers)
    try:

        async def has_measured() -> bool:
            runs = 'jettythunder_periodic_runs_total{outcome="done",work="measure-drift"}'
            return await metric(watching, runs) > 0

        await eventually(has_measured, timeout_seconds=WAIT_SECONDS)
        before = await metric(watching, "jettythunder_meter_drift_bytes")
        ownerless = f"accounts/{uuid4()}/file"
        await storage.put(ownerless, b"x" * 100, content_type="text/plain")
        await storage.put(f"accounts/{tenant.id}/{uuid4()}", b"x" * 12_345, content_type="text/plain")

        async def has_risen() -> bool:
            return await metric(watching, "jettythunder_meter_drift_bytes") == before + 12_445

        await eventually(has_risen, timeout_seconds=WAIT_SECONDS)
        await storage.delete(ownerless)

        async def is_mended() -> bool:
            # Refused while a scheduled run is at it.
            return not (await reconcile(ops, tenant, fix=True))["needs_a_person"]

        await eventually(is_mended, timeout_seconds=WAIT_SECONDS)

        async def has_fallen() -> bool:
            return await metric(watching, "jettythunder_meter_drift_bytes") == before

        await eventually(has_fallen, timeout_seconds=WAIT_SECONDS)
    finally:
        await watching.aclose()
        starter.end()


async def queued(tenant: Tenant) -> tuple[bool, int] | None:
    """Whether an account's usage changed since a look began, and its drift; None where it is not queued."""
    row = await tenant.pool.fetchrow(
        "SELECT is_changed, drift_bytes FROM reconciliation_queue WHERE account_id = $1", tenant.id
    )
    return None if row is None else (row["is_changed"], row["drift_bytes"])


async def test_an_account_is_queued_when_an_hour_of_it_is_closed(
    ops: httpx.AsyncClient, tenant: Tenant, tenants: Tenants, storage: Storage
) -> None:
    idle = await tenants.new()
    await put_asset(tenant, storage, 10, at=datetime.now(UTC) - timedelta(hours=2))

    async def is_queued() -> bool:
        return await queued(tenant) == (True, 0)

    await eventually(is_queued, timeout_seconds=WAIT_SECONDS)
    assert await queued(idle) is None
    assert (await reconcile(ops, tenant))["is_clean"]
    assert await queued(tenant) is None


async def test_drift_stays_known_until_it_is_mended(
    ops: httpx.AsyncClient, tenant: Tenant, storage: Storage
) -> None:
    await storage.put(f"accounts/{tenant.id}/{uuid4()}", b"12345", content_type="text/plain")
    await reconcile(ops, tenant)
    assert await queued(tenant) == (False, 5)
    await reconcile(ops, tenant, fix=True)
    assert await queued(tenant) == (False, 0)
    await reconcile(ops, tenant)
    assert await queued(tenant) is None


@pytest_asyncio.fixture
async def database(servers: Infrastructure) -> AsyncIterator[Database]:
    """The usage-meter's database, with its rights."""
    opened = Database(servers.database_url, name="queue", role=role_of("usage-meter"), size=1)
    await opened.open()
    yield opened
    await opened.close()


async def test_an_account_that_changes_while_it_is_looked_at_stays_queued(
    database: Database, tenant: Tenant, tenants: Tenants
) -> None:
    queue, other = ReconciliationQueue(), await tenants.new()
    clean = Findings(
        account_id=tenant.id,
        agentcache_user_id="user",
        bucket_bytes=0,
        assets_bytes=0,
        ledger_bytes=0,
        counter_bytes=0,
        adjusted_bytes=0,
    )
    await queue.add(database, account_ids={tenant.id, other.id})
    await queue.begin_look(database, account_id=tenant.id)
    await queue.note(database, replace(clean, hours_drift_bytes=7))
    await queue.begin_look(database, account_id=tenant.id)
    await queue.add(database, account_ids={tenant.id})
    await queue.note(database, clean)
    assert await queued(tenant) == (True, 0)
    await queue.begin_look(database, account_id=tenant.id)
    await queue.note(database, clean)
    assert await queued(tenant) is None
    assert await queued(other) == (True, 0)
    before_other = UUID(int=other.id.int - 1)
    assert await queue.page(database, after=before_other, page_size=1) == [other.id]


async def test_a_round_over_all_accounts_is_kept_where_every_instance_finds_it(
    database: Database, tenant: Tenant
) -> None:
    await ReconciliationQueue().end_round(database)
    begun = await ReconciliationQueue().round(database)
    assert (begun.after_account_id, begun.account_count) == (None, 0)
    await ReconciliationQueue().move_round(database, after=tenant.id)
    resumed = await ReconciliationQueue().round(database)
    assert (resumed.after_account_id, resumed.account_count) == (tenant.id, 1)
    assert resumed.age_seconds > begun.age_seconds >= 0
    await ReconciliationQueue().end_round(database)
    assert (await ReconciliationQueue().round(database)).after_account_id is None


async def test_the_end_of_a_run_is_kept_where_every_instance_finds_it(
    database: Database, tenant: Tenant
) -> None:
    await tenant.pool.execute("UPDATE reconciliation_run SET ended_at = now() - interval '2 hours'")
    await ReconciliationQueue().end_run(database)
    age_seconds = await ReconciliationQueue().run_age_seconds(database)
    assert age_seconds is not None
    assert 0 <= age_seconds < 3600


async def test_one_reconciles_at_a_time(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    async with tenant.pool.acquire() as elsewhere:
        # What another usage-meter holds while it reconciles.
        lock = crc32(b"usage-meter/reconcile")
        assert await elsewhere.fetchval("SELECT pg_try_advisory_lock($1)", lock)
        refused = await ops.post("/usage/reconcile", json={"account": str(tenant.id)})
        await elsewhere.execute("SELECT pg_advisory_unlock($1)", lock)
    assert (refused.status_code, refused.json()["code"]) == (409, "reconciliation_running")
    assert (await reconcile(ops, tenant))["is_clean"]


async def test_an_unknown_account_is_refused(ops: httpx.AsyncClient) -> None:
    answer = await ops.post("/usage/reconcile", json={"account": "nobody"})
    assert (answer.status_code, answer.json()["code"]) == (404, "account_not_found")


async def test_a_token_that_only_reads_mends_nothing(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    reader = {"Authorization": "Bearer token-of-reader"}
    for fix, status in ((False, 200), (True, 403)):
        body = {"account": str(tenant.id), "fix": fix}
        answer = await ops.post("/usage/reconcile", json=body, headers=reader)
        assert answer.status_code == status, answer.text
