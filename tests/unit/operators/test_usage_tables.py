"""`jettythunder usage` on a terminal of 80 columns."""

from __future__ import annotations

from typing import Any

from tests.support.usage_cli import UsageCli
from tests.unit.operators.conftest import Service

GB = 1_000_000_000


def quota(user: str, **changed: Any) -> dict[str, Any]:
    """An account's quota answer, with large figures."""
    return {
        "agentcache_user_id": user,
        "tier": "enterprise",
        "status": "active",
        "storage_used_bytes": 987_654_321_987,
        "storage_reserved_bytes": 12_345_678_901,
        "storage_quota_bytes": 1000 * GB,
        "bandwidth_used_bytes": 4_999_999_999_999,
        "bandwidth_reserved_bytes": 0,
        "bandwidth_quota_bytes": 5000 * GB,
        "request_count": 123_456_789,
        "period_end": "2026-02-01T00:00:00Z",
        **changed,
    }


def used(user: str, hour: int) -> dict[str, Any]:
    """A line of a report."""
    return {
        "agentcache_user_id": user,
        "period_start": f"2026-01-31T{hour:02}:00:00+00:00",
        "storage_bytes": 987_654_321_987,
        "storage_byte_hours": str(987_654_321_987),
        "bandwidth_bytes": 123_456_789_012,
        "request_count": 1_234_567,
        "storage_cost": "1234.5678",
        "bandwidth_cost": "123.4567",
        "total_cost": "1358.0245",
    }


def cli(service: Service) -> UsageCli:
    return UsageCli(
        {"JETTYTHUNDER_USAGE_METER_URL": service.url, "JETTYTHUNDER_OPS_TOKEN": "secret"}, columns=80
    )


async def test_quotas_keep_their_figures_whole(service: Service) -> None:
    users = ["user-1", "a user whose id is rather long, as ids of other systems may be", "x[/y]\x1b[31m"]
    service.answer("GET /usage/accounts", {"accounts": [quota(user) for user in users], "next_cursor": None})
    shown = await cli(service)("show")
    lines = [line.rstrip() for line in shown.output.splitlines()]
    assert shown.code == 0, shown.errors
    assert max(len(line) for line in lines) <= 80
    figures = [line.split()[-7:] for line in lines if "storage" in line]
    assert figures == [["988", "GB", "12.3", "GB", "1", "TB", "100.0"]] * 3
    assert sum("123,456,789" in line for line in lines) == 3
    assert "\x1b" not in shown.output
    assert "x[/y]\\x1b" in shown.output


async def test_a_report_keeps_its_figures_whole(service: Service) -> None:
    lines = [used(user, hour) for user in ("user-1", "x[/y]") for hour in range(3)]
    service.answer_lines("GET /usage/report", *lines)
    shown = await cli(service)("report", "--by", "hour", "--from", "2026-01-31", "--to", "2026-02-01")
    printed = [line.rstrip() for line in shown.output.splitlines()]
    assert shown.code == 0, shown.errors
    assert max(len(line) for line in printed) <= 80
    rows = [line for line in printed if line.startswith("2026-01-31 0")]
    assert len(rows) == 6
    assert {tuple(row.split()[2:5]) for row in rows} == {("988", "GB", "987.7")}
    assert {row.split()[-1] for row in rows} == {"1,358.0245"}
    assert "x[/y]" in printed
    assert "8,148.1470" in shown.output


async def test_a_report_of_an_account_may_have_no_usage(service: Service) -> None:
    service.answer_lines("GET /usage/report")
    assert (await cli(service)("report", "user-1")).code == 0
