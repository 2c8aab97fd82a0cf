"""The hourly rows: what was stored, sent and asked for, and what late events do to them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
from tests.support.waiting import eventually

from jettythunder.contracts.quota import UsageRecordedV1

from .conftest import GB, WAIT_SECONDS, Tenant, Wire, runs_again, waits_for_a_lock

# The first hour of a day of last month: later events of the tests stay within that day.
LAST_MONTH = (datetime.now(UTC).replace(day=1) - timedelta(days=5)).replace(
    hour=0, minute=0, second=0, microsecond=0
)
HOUR = timedelta(hours=1)


async def rows_are(tenant: Tenant, *wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Wait until the account's hourly rows have these figures."""

    async def same() -> list[dict[str, Any]]:
        rows = await tenant.hours()
        shown = [{name: row[name] for name in figures} for row, figures in zip(rows, wanted, strict=True)]
        assert shown == list(wanted)
        return rows

    async def same_number() -> bool:
        rows = await tenant.hours()
        assert len(rows) == len(wanted), rows
        return True

    await eventually(same_number, timeout_seconds=WAIT_SECONDS)
    return await eventually(same, timeout_seconds=WAIT_SECONDS)


async def test_an_hour_shows_what_was_stored_sent_and_asked_for(tenant: Tenant) -> None:
    await tenant.store(3_600, at=LAST_MONTH + HOUR / 2)
    await tenant.send_bytes(500, at=LAST_MONTH + HOUR / 4)
    await tenant.send_bytes(700, at=LAST_MONTH + HOUR / 3)
    await rows_are(
        tenant,
        {
            "period_start": LAST_MONTH,
            "period_end": LAST_MONTH + HOUR,
            "storage_bytes": 3_600,
            "storage_byte_seconds": Decimal(3_600 * 1_800),
            "bandwidth_bytes": 1_200,
            "request_count": 3,
        },
    )


async def test_bytes_weigh_as_long_as_they_are_stored(tenant: Tenant) -> None:
    await tenant.store(1_000, at=LAST_MONTH)
    await tenant.delete(1_000, at=LAST_MONTH + 2 * HOUR + HOUR / 4)
    await rows_are(
        tenant,
        {"storage_bytes": 1_000, "storage_byte_seconds": Decimal(1_000 * 3_600)},
        {"storage_bytes": 0, "storage_byte_seconds": Decimal(1_000 * 900)},
    )


async def test_a_late_event_corrects_its_hour_and_the_later_ones(tenant: Tenant) -> None:
    await tenant.store(1_000, at=LAST_MONTH + 5 * HOUR)
    await rows_are(tenant, {"storage_bytes": 1_000})
    await tenant.store(500, at=LAST_MONTH + HOUR)
    await rows_are(
        tenant,
        {"period_start": LAST_MONTH + HOUR, "storage_bytes": 500},
        {"period_start": LAST_MONTH + 5 * HOUR, "storage_bytes": 1_500},
    )


async def test_a_late_event_corrects_the_hours_of_many_months(tenant: Tenant) -> None:
    months = [LAST_MONTH - timedelta(days=40 * ago) for ago in (3, 2, 1, 0)]
    for at in months:
        await tenant.store(1_000, at=at)
    await rows_are(
        tenant, *({"period_start": at, "storage_bytes": 1_000 * n} for n, at in enumerate(months, 1))
    )
    earliest = months[0] - timedelta(days=40)
    await tenant.store(500, at=earliest)
    await rows_are(
        tenant,
        {"period_start": earliest, "storage_bytes": 500},
        *({"period_start": at, "storage_bytes": 500 + 1_000 * n} for n, at in enumerate(months, 1)),
    )


async def test_entries_and_hours_are_in_the_partitions_of_their_months(tenant: Tenant) -> None:
    now = datetime.now(UTC)
    await tenant.store(1_000, at=now)
    await rows_are(tenant, {"storage_bytes": 1_000})
    names = await tenant.pool.fetch(
        "SELECT tableoid::regclass::text AS name FROM usage_ledger WHERE account_id = $1"
        " UNION SELECT tableoid::regclass::text FROM storage_usage WHERE account_id = $1",
        tenant.id,
    )
    assert {row["name"] for row in names} == {
        f"partitions.{table}_{now:%Y_%m}" for table in ("usage_ledger", "storage_usage")
    }


async def test_what_a_closed_hour_said_is_kept_and_the_correction_published(
    tenant: Tenant, wire: Wire
) -> None:
    await tenant.store(1_000, at=LAST_MONTH)

    async def closed(revision: int) -> bool:
        rows = await tenant.hours()
        return len(rows) == 1 and rows[0]["revision"] == revision and rows[0]["closed_at"] is not None

    await eventually(lambda: closed(1), timeout_seconds=WAIT_SECONDS)
    await tenant.store(500, at=LAST_MONTH)
    await eventually(lambda: closed(2), timeout_seconds=WAIT_SECONDS)
    kept = await tenant.pool.fetch(
        "SELECT revision, storage_bytes FROM storage_usage_history WHERE account_id = $1", tenant.id
    )
    assert [tuple(row) for row in kept] == [(1, 1_000)]

    async def published() -> bool:
        events = await wire.logged(UsageRecordedV1, tenant.id)
        assert [(e.data.revision, e.data.storage_bytes) for e in events] == [(1, 1_000), (2, 1_500)]
        return True

    await eventually(published, timeout_seconds=WAIT_SECONDS)


async def test_a_price_is_in_force_from_its_month_on(tenant: Tenant) -> None:
    month = LAST_MONTH.replace(day=1)
    await tenant.pool.execute(
        "INSERT INTO usage_prices VALUES ('bandwidth', $1, 0.5, 'a test') ON CONFLICT DO NOTHING", month
    )
    await tenant.send_bytes(10 * GB, at=month - HOUR)
    await tenant.send_bytes(10 * GB, at=month)
    await rows_are(
        tenant,
        {"bandwidth_cost": Decimal("0.1000"), "total_cost": Decimal("0.1000")},
        {"bandwidth_cost": Decimal("5.0000"), "total_cost": Decimal("5.0000")},
    )


async def test_a_late_event_and_a_recent_one_at_once_are_both_in_the_last_hour(
    tenant: Tenant, ops: httpx.AsyncClient
) -> None:
    now = datetime.now(UTC)
    await tenant.processed(await tenant.store(5_000_000, at=now - 5 * HOUR))
    await rows_are(tenant, {"storage_bytes": 5_000_000})
    async with tenant.pool.acquire() as locking, locking.transaction():
        await locking.execute("SELECT FROM storage_usage WHERE account_id = $1 FOR UPDATE", tenant.id)
        await tenant.store(700_000, at=now - 6 * HOUR)
        # The late event's hour is being computed, and waits for the row of an hour after it.
        await waits_for_a_lock(tenant.pool, "%storage_usage%")
        await tenant.processed(await tenant.store(1_000_000, at=now))
        # Time enough for the recent hour to be computed from rows that are not corrected yet.
        await runs_again(ops, "begin-periods", times=4)
    await rows_are(
        tenant,
        {"storage_bytes": 700_000},
        {"storage_bytes": 5_700_000},
        {"storage_bytes": 6_700_000},
    )
