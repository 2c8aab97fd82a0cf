"""What ops read and correct through the usage-meter's doors."""

import asyncio
import contextlib
import json
import socket
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from tests.support.infrastructure import RunningService
from tests.support.waiting import eventually

from usage_meter.reports.model import Bucket

from .conftest import GB, WAIT_SECONDS, Tenant, Tenants

DAY = timedelta(days=1)
MONTH_START = (datetime.now(UTC).replace(day=1) - timedelta(days=40)).replace(
    day=1, hour=0, minute=0, second=0, microsecond=0
)
NEXT_MONTH = (MONTH_START + timedelta(days=32)).replace(day=1)


async def report(ops: httpx.AsyncClient, tenant: Tenant, **params: Any) -> list[dict[str, Any]]:
    answer = await ops.get(
        "/usage/report",
        params={
            "from": MONTH_START.isoformat(),
            "to": NEXT_MONTH.isoformat(),
            "account": str(tenant.id),
            **params,
        },
    )
    assert answer.status_code == 200, answer.text
    return [json.loads(line, parse_float=Decimal) for line in answer.text.splitlines()]


async def rolled_up(tenant: Tenant, *event_ids: UUID) -> None:
    """Wait until events are booked and their hours computed: both leave the queue in one transaction."""
    await tenant.processed(*event_ids)

    async def done() -> bool:
        return bool(
            await tenant.pool.fetchval(
                "SELECT NOT EXISTS (SELECT FROM usage_rollup_queue WHERE account_id = $1)", tenant.id
            )
        )

    await eventually(done, timeout_seconds=WAIT_SECONDS)


async def test_a_month_of_a_gigabyte_costs_a_gigabyte_month(ops: httpx.AsyncClient, tenants: Tenants) -> None:
    tenant = await tenants.new(storage_gb=1000)
    await rolled_up(tenant, await tenant.store(100 * GB, at=MONTH_START))
    (row,) = await report(ops, tenant, by="month")
    hours = (NEXT_MONTH - MONTH_START) / timedelta(hours=1)
    assert Decimal(row["storage_byte_hours"]) == Decimal(100 * GB) * int(hours)
    # 100 GB-months at the default price of 0.01.
    assert Decimal(row["storage_cost"]) == Decimal("1.0000")


async def test_days_without_activity_keep_what_is_stored(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    stored = await tenant.store(1_000, at=MONTH_START + DAY / 2)
    deleted = await tenant.delete(1_000, at=MONTH_START + 3 * DAY + DAY / 4)
    await rolled_up(tenant, stored, deleted)
    rows = await report(ops, tenant, by="day")
    assert [Decimal(row["storage_byte_hours"]) for row in rows] == [12_000, 24_000, 24_000, 6_000]
    assert [row["storage_bytes"] for row in rows] == [1_000, 1_000, 1_000, 0]
    assert [row["request_count"] for row in rows] == [1, 0, 0, 1]


async def test_hours_days_and_months_add_up_to_the_same(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    events = []
    for number in range(1, 20):
        stored_at = MONTH_START + number * timedelta(hours=31, minutes=7, seconds=3)
        events.append(await tenant.store(number * 1_001, at=stored_at))
        events.append(await tenant.send_bytes(number * 13, at=MONTH_START + number * timedelta(hours=29)))
    events.append(await tenant.delete(1_001, at=NEXT_MONTH - timedelta(minutes=1)))
    await rolled_up(tenant, *events)

    async def summed(by: str) -> tuple[Decimal, int, int]:
        rows = await report(ops, tenant, by=by)
        byte_hours = sum((Decimal(row["storage_byte_hours"]) for row in rows), Decimal(0))
        return (
            byte_hours.quantize(Decimal("0.000001")),
            sum(row["bandwidth_bytes"] for row in rows),
            sum(row["request_count"] for row in rows),
        )

    monthly = await summed("month")
    assert monthly[1:] == (sum(range(1, 20)) * 13, 39)
    assert await summed("day") == monthly
    assert await summed("hour") == monthly


@pytest.mark.parametrize("bucket", Bucket)
async def test_a_report_from_long_ago_begins_with_the_first_usage(
    ops: httpx.AsyncClient, tenant: Tenant, bucket: Bucket
) -> None:
    await rolled_up(tenant, await tenant.store(1_000, at=MONTH_START))
    since = {"from": "0445-01-01T00:00:00+14:00", "to": (MONTH_START + DAY / 2).isoformat()}
    rows = await report(ops, tenant, by=bucket, **since)
    assert rows[0]["period_start"] == MONTH_START.isoformat().replace("+00:00", "Z")
    assert await report(ops, tenant, by=bucket, to="0446-01-01T00:00:00Z") == []
    assert await report(ops, tenant, by=bucket, **{"from": "9999-12-31T23:00:00-12:00"}) == []


async def test_a_report_has_as_many_rows_as_there_are(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    await with_hours(tenant, days=100)
    rows = await report(ops, tenant, by="hour", **EVERYTHING)
    starts = [row["period_start"] for row in rows]
    assert len(rows) >= 100 * 24
    assert starts == sorted(set(starts))


EVERYTHING = {"from": "2000-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z"}


async def with_hours(tenant: Tenant, *, days: int) -> None:
    """Give an account an hourly row for each hour of the last days."""
    await tenant.pool.execute(
        "INSERT INTO storage_usage (account_id, period_start, period_end, storage_bytes, bandwidth_bytes,"
        " closed_at) SELECT $1, hour, hour + interval '1 hour', 1000, 1, now()"
        " FROM generate_series(date_trunc('hour', now(), 'UTC') - $2::int * interval '1 day',"
        " date_trunc('hour', now(), 'UTC'), interval '1 hour') AS hour",
        tenant.id,
        days,
    )
    # So many rows at once are read by the wrong plan until the database has counted them.
    await tenant.pool.execute("ANALYZE storage_usage")


async def small_socket(host: str, port: int) -> socket.socket:
    """A connection that the system holds only a few kilobytes for."""
    made = socket.socket()
    made.setblocking(False)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(made, (host, port))
    return made


async def test_readers_that_pause_keep_no_event_from_being_booked(
    ops: httpx.AsyncClient, tenants: Tenants, meter: RunningService
) -> None:
    tenant = await tenants.new()
    await with_hours(tenant, days=400)
    host, _, port = meter.url.removeprefix("http://").partition(":")
    query = "from=2000-01-01T00:00:00Z&to=2100-01-01T00:00:00Z&by=hour"
    head = (
        f"GET /usage/report?{query}&account={tenant.id} HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: {ops.headers['Authorization']}\r\n\r\n"
    )
    async with contextlib.AsyncExitStack() as paused:
        for _ in range(9):
            # It takes little ahead, and nothing once the answer has begun.
            reader, writer = await asyncio.open_connection(
                sock=await small_socket(host, int(port)), limit=4096
            )
            paused.callback(writer.close)
            writer.write(head.encode())
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        for _ in range(5):
            await tenant.processed(await tenant.store(1_000))

        async def all_are_idle() -> bool:
            # Pages that were asked for before the readers paused may still be read.
            busy = await tenant.pool.fetchval(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE application_name = 'usage-meter reports' AND state <> 'idle'"
            )
            return bool(busy == 0)

        await eventually(all_are_idle)
        assert (await ops.get("/readyz")).status_code == 200


async def test_a_report_of_an_unknown_account_is_refused(ops: httpx.AsyncClient) -> None:
    params = {"from": MONTH_START.isoformat(), "to": NEXT_MONTH.isoformat(), "account": "nobody"}
    answer = await ops.get("/usage/report", params=params)
    assert (answer.status_code, answer.json()["code"]) == (404, "account_not_found")


async def test_the_doors_are_for_ops(meter: RunningService) -> None:
    async with httpx.AsyncClient(base_url=meter.url) as stranger:
        answer = await stranger.get("/usage/accounts", headers={"Authorization": "Bearer wrong"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_quota_is_found_by_the_users_id(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    await tenant.processed(await tenant.store(700))
    answer = (await ops.get(f"/usage/accounts/user-{tenant.id}")).json()
    assert (answer["account_id"], answer["storage_used_bytes"]) == (str(tenant.id), 700)


async def test_every_account_is_on_one_page(ops: httpx.AsyncClient, tenants: Tenants) -> None:
    made = {str((await tenants.new()).id) for _ in range(5)}
    seen: list[str] = []
    cursor = None
    while True:
        params = {"page_size": 2} | ({"cursor": cursor} if cursor else {})
        page = (await ops.get("/usage/accounts", params=params)).json()
        seen += [row["account_id"] for row in page["accounts"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert made <= set(seen)
    assert len(seen) == len(set(seen))


async def test_the_ledger_shows_how_a_number_came_about(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    event_id = await tenant.store(700)
    await tenant.processed(event_id)
    entries = (await ops.get(f"/usage/accounts/{tenant.id}/ledger")).json()["entries"]
    assert [(e["kind"], e["used_delta_bytes"], e["reserved_delta_bytes"]) for e in entries] == [
        ("settled", 700, -700),
        ("reserved", 0, 700),
    ]
    assert entries[0]["source_event_id"] == str(event_id)


async def test_an_adjustment_is_booked_once_with_its_reason(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    wanted = {
        "id": str(uuid4()),
        "account": str(tenant.id),
        "resource": "storage",
        "bytes": 5_000,
        "reason": "moved from another account",
        "author": "somebody@example.com",
    }
    first = (await ops.post("/usage/adjustments", json=wanted)).json()
    again = (await ops.post("/usage/adjustments", json=wanted)).json()
    assert (first["booked"], again["booked"]) == (True, False)
    assert again["quota"]["storage_used_bytes"] == 5_000
    (entry,) = (await ops.get(f"/usage/accounts/{tenant.id}/ledger")).json()["entries"]
    assert (entry["kind"], entry["reason"], entry["author"]) == (
        "adjustment",
        "moved from another account",
        "operator (somebody@example.com)",
    )
    await tenant.proves_its_counters()


async def test_an_adjustment_s_id_is_not_reused(ops: httpx.AsyncClient, tenant: Tenant) -> None:
    wanted = {
        "id": str(uuid4()),
        "account": str(tenant.id),
        "resource": "bandwidth",
        "bytes": 10,
        "reason": "a test",
        "author": "ops",
    }
    await ops.post("/usage/adjustments", json=wanted)
    answer = await ops.post("/usage/adjustments", json={**wanted, "bytes": 11})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")
    assert (await tenant.quota())["bandwidth_used_bytes"] == 10


@pytest.mark.parametrize("missing", ["reason", "author"])
async def test_an_adjustment_needs_reason_and_author(
    ops: httpx.AsyncClient, tenant: Tenant, missing: str
) -> None:
    wanted = {
        "account": str(tenant.id),
        "resource": "storage",
        "bytes": 1,
        "reason": "a test",
        "author": "ops",
    }
    del wanted[missing]
    answer = await ops.post("/usage/adjustments", json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_field")


async def test_a_price_begins_with_a_month(ops: httpx.AsyncClient) -> None:
    wanted = {
        "resource": "storage",
        "effective_from": "2031-02-02",
        "usd_per_gb": "0.02",
        "source": "a test",
    }
    assert (await ops.put("/usage/prices", json=wanted)).status_code == 422
    answer = await ops.put("/usage/prices", json={**wanted, "effective_from": "2031-02-01"})
    newest = answer.json()[0]
    assert (newest["resource"], Decimal(newest["usd_per_gb"])) == ("storage", Decimal("0.02"))
