"""`jettythunder usage`, as ops type it."""

import asyncio
import csv
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from tests.support.infrastructure import Infrastructure, RunningService
from tests.support.usage_cli import UsageCli
from tests.support.waiting import eventually

from jettythunder.storage import Storage

from .conftest import GB, WAIT_SECONDS, Tenant

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture(scope="package")
def cli(servers: Infrastructure, meter: RunningService) -> UsageCli:
    return UsageCli(
        {
            "JETTYTHUNDER_USAGE_METER_URL": meter.url,
            "JETTYTHUNDER_OPS_TOKEN": servers.environment["JETTYTHUNDER_OPS_TOKEN"],
        }
    )


@pytest.fixture
async def used(tenant: Tenant) -> Tenant:
    """An account that stored 3 GB and sent 1 GB yesterday."""
    await tenant.store(3 * GB, at=YESTERDAY)
    await tenant.send_bytes(GB, at=YESTERDAY)

    async def rolled_up() -> bool:
        rows = await tenant.hours()
        return bool(rows) and (rows[0]["storage_bytes"], rows[0]["bandwidth_bytes"]) == (3 * GB, GB)

    await eventually(rolled_up, timeout_seconds=WAIT_SECONDS)
    return tenant


def since_yesterday() -> tuple[str, ...]:
    return "--from", YESTERDAY.date().isoformat()


async def test_show_tells_what_an_account_uses(cli: UsageCli, used: Tenant) -> None:
    shown = await cli("show", f"user-{used.id}")
    assert shown.code == 0, shown.errors
    assert "3 GB" in shown.output


async def test_show_tells_every_account(cli: UsageCli, used: Tenant) -> None:
    rows = (await cli("show", "--json")).json
    assert str(used.id) in {row["account_id"] for row in rows}


async def test_show_tells_the_newest_ledger_entries(cli: UsageCli, used: Tenant) -> None:
    shown = (await cli("show", str(used.id), "--ledger", "10", "--json")).json
    assert [entry["kind"] for entry in shown["ledger"]].count("settled") == 2


async def test_report_adds_up_days(cli: UsageCli, used: Tenant) -> None:
    rows = (await cli("report", str(used.id), *since_yesterday(), "--by", "day", "--json")).json
    assert (rows[0]["storage_bytes"], rows[0]["bandwidth_bytes"], rows[0]["request_count"]) == (3 * GB, GB, 2)
    assert Decimal(rows[0]["storage_byte_hours"]) == 72 * GB
    assert rows[0]["bandwidth_cost"] == "0.0100"


async def test_report_is_drawn_in_the_terminal(cli: UsageCli, used: Tenant) -> None:
    drawn = await cli("report", str(used.id), *since_yesterday(), "--by", "hour", "--plot")
    assert drawn.code == 0, drawn.errors
    assert "GB stored" in drawn.output


async def test_report_is_drawn_into_a_png(cli: UsageCli, used: Tenant, tmp_path: Path) -> None:
    drawn = await cli("report", str(used.id), *since_yesterday(), "--png", str(tmp_path / "usage.png"))
    assert drawn.code == 0, drawn.errors
    assert (tmp_path / "usage.png").read_bytes().startswith(b"\x89PNG")


async def test_export_writes_csv(cli: UsageCli, used: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "usage.csv"
    done = await cli("export", str(file), "--account", str(used.id), *since_yesterday())
    assert done.code == 0, done.errors
    with file.open(newline="") as opened:
        first = next(csv.DictReader(opened))
    assert (first["storage_bytes"], Decimal(first["storage_byte_hours"])) == (str(3 * GB), Decimal(72 * GB))


async def test_export_writes_parquet_with_exact_numbers(cli: UsageCli, used: Tenant, tmp_path: Path) -> None:
    file = tmp_path / "usage.parquet"
    done = await cli("export", str(file), "--account", str(used.id), *since_yesterday())
    assert done.code == 0, done.errors
    first = pq.read_table(file).to_pylist()[0]
    assert first["storage_byte_hours"] == Decimal(72 * GB)
    assert first["bandwidth_cost"] == Decimal("0.0100")
    assert first["period_start"] == YESTERDAY


async def test_export_asks_what_the_file_should_be(cli: UsageCli, tmp_path: Path) -> None:
    refused = await cli("export", str(tmp_path / "usage.xyz"))
    assert refused.code == 2
    assert "--format" in refused.errors
    assert not await asyncio.to_thread((tmp_path / "usage.xyz").exists)


async def test_adjust_books_once(cli: UsageCli, tenant: Tenant) -> None:
    arguments = ("--id", str(uuid4()), "--reason", "a test", "--author", "ops", "--json")
    first = await cli("adjust", *arguments, "--", str(tenant.id), "storage", "-5000")
    again = await cli("adjust", *arguments, "--", str(tenant.id), "storage", "-5000")
    assert (first.json["booked"], again.json["booked"]) == (True, False)
    assert (await tenant.quota())["storage_used_bytes"] == -5_000


async def test_adjust_may_correct_an_hour_that_is_over(cli: UsageCli, tenant: Tenant) -> None:
    why = ("--reason", "a test", "--author", "ops", "--at", f"{YESTERDAY:%Y-%m-%dT%H:%M}")
    adjusted = await cli("adjust", *why, str(tenant.id), "bandwidth", "5000")
    assert adjusted.code == 0, adjusted.errors

    async def rolled_up() -> bool:
        hours = [(hour["period_start"], hour["bandwidth_bytes"]) for hour in await tenant.hours()]
        return hours == [(YESTERDAY, 5_000)]

    await eventually(rolled_up, timeout_seconds=WAIT_SECONDS)


async def test_reconcile_ends_with_2_where_there_is_drift(
    cli: UsageCli, tenant: Tenant, storage: Storage
) -> None:
    assert (await cli("reconcile", str(tenant.id))).code == 0
    await storage.put(f"accounts/{tenant.id}/{uuid4()}", b"12345", content_type="text/plain")
    found = await cli("reconcile", str(tenant.id), "--json")
    assert (found.code, found.json[0]["drift_bytes"]) == (2, 5)
    mended = await cli("reconcile", str(tenant.id), "--fix")
    assert mended.code == 0, mended.errors
    assert "1 orphan objects" in mended.output


async def test_prices_are_shown_with_their_source(cli: UsageCli) -> None:
    rows = (await cli("prices", "--json")).json
    assert {row["resource"] for row in rows} == {"storage", "bandwidth"}
    assert all(row["source"] for row in rows)


async def test_a_missing_token_is_named(cli: UsageCli) -> None:
    refused = await cli("show", JETTYTHUNDER_OPS_TOKEN="")
    assert refused.code == 1
    assert "JETTYTHUNDER_OPS_TOKEN" in refused.errors


async def test_a_usage_meter_that_is_away_is_told(cli: UsageCli) -> None:
    refused = await cli("show", "--url", "http://127.0.0.1:9")
    assert refused.code == 1
    assert "Nothing answers at http://127.0.0.1:9" in refused.errors


async def test_an_unknown_account_is_told_with_its_code(cli: UsageCli) -> None:
    refused = await cli("show", "nobody", "--json")
    assert refused.code == 1
    assert refused.json["code"] == "account_not_found"
