"""What events do to the ledger and its sums."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg
import httpx
import pytest
from tests.support.infrastructure import Infrastructure
from tests.support.waiting import eventually

from jettythunder.contracts.uploads import UploadCompletedV1
from usage_meter.messages import USAGE_METER_EVENTS

from .conftest import GB, Tenant, Tenants, Wire, held_batch, runs_again


async def test_a_completed_upload_settles_its_reservation(tenant: Tenant) -> None:
    upload_id = await tenant.reserve(1_000)
    assert upload_id is not None
    await tenant.complete(upload_id, 700)
    await tenant.shows(storage_used_bytes=700, storage_reserved_bytes=0, request_count=1)
    await tenant.proves_its_counters()


async def test_a_deduplicated_upload_uses_nothing(tenant: Tenant) -> None:
    upload_id = await tenant.reserve(1_000)
    assert upload_id is not None
    await tenant.complete(upload_id, 1_000, stored_bytes=0)
    await tenant.shows(storage_used_bytes=0, storage_reserved_bytes=0, request_count=1)


async def test_an_aborted_upload_releases_its_reservation(tenant: Tenant) -> None:
    upload_id = await tenant.reserve(1_000)
    assert upload_id is not None
    await tenant.abort(upload_id)
    await tenant.shows(storage_used_bytes=0, storage_reserved_bytes=0, request_count=0)
    await tenant.proves_its_counters()


async def test_a_reservation_that_grew_is_settled_whole(tenant: Tenant) -> None:
    upload_id = await tenant.reserve(1_000)
    assert upload_id == await tenant.reserve(500, upload_id=upload_id)
    assert upload_id is not None
    await tenant.complete(upload_id, 1_400)
    await tenant.shows(storage_used_bytes=1_400, storage_reserved_bytes=0)


async def test_a_deleted_asset_no_longer_counts(tenant: Tenant) -> None:
    await tenant.store(900)
    await tenant.delete(900)
    await tenant.shows(storage_used_bytes=0, request_count=2)


async def test_a_delete_may_overtake_its_upload(tenant: Tenant) -> None:
    upload_id = await tenant.reserve(900)
    assert upload_id is not None
    await tenant.delete(900)
    await tenant.complete(upload_id, 900)
    await tenant.shows(storage_used_bytes=0, storage_reserved_bytes=0, request_count=2)


async def test_a_signed_download_counts_its_size(tenant: Tenant) -> None:
    reservation_id = await tenant.reserve_bandwidth(5_000)
    assert reservation_id is not None
    await tenant.download(reservation_id, 5_000)
    await tenant.shows(bandwidth_used_bytes=5_000, bandwidth_reserved_bytes=0, request_count=1)
    await tenant.proves_its_counters()


async def test_a_stream_counts_the_bytes_sent_and_releases_the_rest(tenant: Tenant) -> None:
    reservation_id = await tenant.reserve_bandwidth(5_000)
    assert reservation_id is not None
    await tenant.stream(reservation_id, 1_234)
    await tenant.shows(bandwidth_used_bytes=1_234, bandwidth_reserved_bytes=0)


async def test_bytes_are_booked_where_the_reservation_is_gone(tenant: Tenant) -> None:
    await tenant.complete(uuid4(), 700)
    await tenant.stream(uuid4(), 300)
    await tenant.shows(storage_used_bytes=700, bandwidth_used_bytes=300)
    await tenant.proves_its_counters()


async def test_an_event_counts_once_however_often_it_comes(tenant: Tenant) -> None:
    first = await tenant.store(700, copies=20)
    await tenant.processed(first)
    again = await tenant.complete(uuid4(), 700, event_id=first, copies=20)
    assert again == first
    last = await tenant.store(1)
    await tenant.processed(last)
    await tenant.shows(storage_used_bytes=701, request_count=2)
    await tenant.proves_its_counters()


async def test_what_another_account_reserved_is_not_touched(tenants: Tenants) -> None:
    owner, other = await tenants.new(), await tenants.new()
    upload_id = await owner.reserve(1_000)
    assert upload_id is not None
    await other.processed(await other.abort(upload_id))
    assert (await owner.quota())["storage_reserved_bytes"] == 1_000


async def test_bytes_of_a_past_month_are_not_this_month_s(tenant: Tenant) -> None:
    await tenant.send_bytes(900, at=datetime.now(UTC) - timedelta(days=32))
    await tenant.processed(await tenant.send_bytes(100))
    await tenant.shows(bandwidth_used_bytes=100, request_count=1)
    await tenant.proves_its_counters()


async def test_an_event_from_the_future_is_of_now(tenant: Tenant) -> None:
    event_id = await tenant.send_bytes(100, at=datetime.now(UTC) + timedelta(days=40))
    await tenant.processed(event_id)
    await tenant.shows(bandwidth_used_bytes=100)


async def test_the_bandwidth_counter_begins_anew_with_the_month(tenant: Tenant) -> None:
    await tenant.processed(await tenant.send_bytes(900))
    await tenant.pool.execute(
        "UPDATE account_usage SET period_start = period_start - interval '1 month',"
        " period_end = period_start WHERE account_id = $1",
        tenant.id,
    )
    quota = await tenant.quota()
    assert (quota["bandwidth_used_bytes"], quota["request_count"]) == (0, 0)
    assert quota["period_end"] > datetime.now(UTC)


async def test_many_events_at_once_add_up(tenants: Tenants) -> None:
    accounts = [await tenants.new() for _ in range(5)]
    await asyncio.gather(*(account.store(size) for size in range(1, 101) for account in accounts))
    for account in accounts:
        await account.shows(storage_used_bytes=5_050, storage_reserved_bytes=0, request_count=100)
        await account.proves_its_counters()


async def test_a_message_that_is_no_event_harms_no_other(tenant: Tenant, wire: Wire) -> None:
    message_id = str(uuid4())
    await asyncio.gather(
        wire.send(b'{"nonsense": true}', "jettythunder.upload.completed.v1", message_id), tenant.store(700)
    )
    await tenant.shows(storage_used_bytes=700)
    dead = await wire.dead_letter(message_id)
    assert dead.headers["x-jt-error-code"] == "malformed_event"


async def test_an_event_of_an_unknown_account_harms_no_other(tenant: Tenant, wire: Wire) -> None:
    stranger = Tenant(uuid4(), tenant.pool, wire)
    events = await asyncio.gather(stranger.complete(uuid4(), 5), *(tenant.store(100) for _ in range(10)))
    await tenant.shows(storage_used_bytes=1_000)
    dead = await wire.dead_letter(str(events[0]))
    assert dead.headers["x-jt-error-code"] == "account_not_found"
    assert json.loads(dead.body)["data"]["account_id"] == str(stranger.id)


@pytest.mark.parametrize(("size_gb", "fits"), [(20, True), (21, False)])
async def test_a_reservation_fits_the_quota_or_is_refused(tenant: Tenant, size_gb: int, fits: bool) -> None:
    assert (await tenant.reserve(size_gb * GB) is not None) is fits


async def test_racing_reservations_never_pass_the_quota(tenants: Tenants) -> None:
    tenant = await tenants.new(storage_gb=1)
    granted = await asyncio.gather(*(tenant.reserve(GB // 20) for _ in range(50)))
    assert sum(reservation is not None for reservation in granted) == 20
    assert (await tenant.quota())["storage_reserved_bytes"] == GB


async def test_an_expired_bandwidth_reservation_is_released(tenant: Tenant) -> None:
    reserved = await tenant.reserve_bandwidth(700, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert reserved is not None
    await tenant.shows(bandwidth_reserved_bytes=0)
    await tenant.stream(reserved, 300)
    await tenant.shows(bandwidth_used_bytes=300)
    await tenant.proves_its_counters()


async def test_a_bandwidth_reservation_that_is_kept_stays(tenant: Tenant, ops: httpx.AsyncClient) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    kept = await tenant.reserve_bandwidth(700, expires_at=soon)
    assert await tenant.reserve_bandwidth(300, expires_at=soon)
    await tenant.pool.execute("SELECT keep_bandwidth_v1($1, now() + interval '3 hours')", [kept])
    # As if two hours had gone by.
    await tenant.pool.execute(
        "UPDATE usage_reservations SET expires_at = expires_at - interval '2 hours' WHERE account_id = $1",
        tenant.id,
    )
    await tenant.shows(bandwidth_reserved_bytes=700)
    await runs_again(ops, "sweep")
    await tenant.shows(bandwidth_reserved_bytes=700)


async def test_a_stale_storage_reservation_is_released_and_a_fresh_one_stays(tenant: Tenant) -> None:
    assert await tenant.reserve(700, expires_at=datetime.now(UTC) - timedelta(hours=1, seconds=1))
    assert await tenant.reserve(200, expires_at=datetime.now(UTC) - timedelta(minutes=50))
    await tenant.shows(storage_reserved_bytes=200)
    await tenant.proves_its_counters()


async def test_a_completed_upload_keeps_its_reservation_until_it_is_settled(tenant: Tenant) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    waiting = uuid4()
    # First, as one whose upload is missing is released.
    await tenant.pool.execute(
        "INSERT INTO uploads (id, account_id, kind, status, filename, content_type, s3_bucket, s3_key,"
        " correlation_id, expires_at) VALUES ($1, $2, 'form', 'completed', 'f', '', 'b', 'k', '', $3)",
        waiting,
        tenant.id,
        long_ago,
    )
    assert await tenant.reserve(700, upload_id=waiting, expires_at=long_ago)
    assert await tenant.reserve(200, expires_at=long_ago)
    await tenant.shows(storage_reserved_bytes=700)


async def test_shown_gigabytes_follow_the_bytes(tenant: Tenant) -> None:
    await tenant.store(1_234_567_890)
    await eventually(
        lambda: tenant.pool.fetchval(
            "SELECT storage_used_gb = 1.23 FROM agentcache_accounts WHERE id = $1", tenant.id
        )
    )


async def test_a_reservation_stays_while_its_event_waits_to_be_booked(
    tenants: Tenants, ops: httpx.AsyncClient
) -> None:
    busy, tenant = await tenants.new(), await tenants.new()
    async with held_batch(busy):
        expired = datetime.now(UTC) - timedelta(seconds=1)
        reserved = await tenant.reserve_bandwidth(700, expires_at=expired)
        assert reserved is not None
        event_id = await tenant.stream(reserved, 300)
        await runs_again(ops, "sweep")
        assert (await tenant.quota())["bandwidth_reserved_bytes"] == 700
    await tenant.processed(event_id)
    await tenant.shows(bandwidth_used_bytes=300, bandwidth_reserved_bytes=0)
    kinds = await tenant.pool.fetch(
        "SELECT kind FROM usage_ledger WHERE account_id = $1 ORDER BY id", tenant.id
    )
    assert [row["kind"] for row in kinds] == ["reserved", "settled"]


async def test_negative_sizes_are_refused(tenant: Tenant, wire: Wire) -> None:
    message_id = str(uuid4())
    body = {
        "specversion": "1.0",
        "id": message_id,
        "source": "/storage-gateway",
        "type": UploadCompletedV1.TYPE,
        "data": {
            "account_id": str(tenant.id),
            "upload_id": str(uuid4()),
            "asset_id": str(uuid4()),
            "size_bytes": 700,
            "stored_bytes": -700,
            "chunk_count": 1,
            "deduplicated": False,
            "duration_seconds": 0,
        },
    }
    await wire.send(json.dumps(body).encode(), UploadCompletedV1.TYPE, message_id)
    dead = await wire.dead_letter(message_id)
    assert dead.headers["x-jt-error-code"] == "malformed_event"
    assert (await tenant.quota())["storage_used_bytes"] == 0


async def test_a_database_that_takes_no_writes_makes_no_dead_letters(
    tenant: Tenant, wire: Wire, ops: httpx.AsyncClient, servers: Infrastructure
) -> None:
    uploads = [await tenant.reserve(100) for _ in range(20)]
    dead_before = await wire.dead_letters()
    admin = await asyncpg.connect(servers.database_url)
    name = servers.database_url.rpartition("/")[2]
    try:
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'usage-meter'"
        )
        events = [await tenant.complete(upload_id, 100) for upload_id in uploads if upload_id]
        # Longer than all retries of a message.
        await runs_again(ops, "outbox-relay", outcome="failed", times=3)
        assert await wire.depth(USAGE_METER_EVENTS.name) == 0, "the consumer has taken them"
        assert await wire.dead_letters() == dead_before
    finally:
        await admin.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
        await admin.close()
    await tenant.processed(*events)
    await tenant.shows(storage_used_bytes=2_000, storage_reserved_bytes=0)
    assert await wire.dead_letters() == dead_before
    await tenant.proves_its_counters()
