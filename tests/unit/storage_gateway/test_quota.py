"""What a tenant sees of its quota."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder.units import GIGABYTE
from storage_gateway.accounts.quota import Counters, Gauge, quota_answer

COUNTERS = Counters(
    tier="starter",
    status="active",
    storage_used_bytes=0,
    storage_reserved_bytes=0,
    storage_quota_bytes=2 * GIGABYTE,
    bandwidth_used_bytes=0,
    bandwidth_reserved_bytes=0,
    bandwidth_quota_bytes=10 * GIGABYTE,
    request_count=3,
    period_start=datetime(2026, 5, 1, tzinfo=UTC),
    period_end=datetime(2026, 6, 1, tzinfo=UTC),
    rate_limit_per_minute=60,
    max_file_size_mb=50,
    jetty_speed_enabled=False,
)


def test_bytes_and_gigabytes_of_a_quota() -> None:
    counters = replace(COUNTERS, storage_used_bytes=1_234_567_890, storage_reserved_bytes=5_000_000)
    answer = quota_answer(counters)
    assert answer["storage"] == {
        "used_bytes": 1_234_567_890,
        "reserved_bytes": 5_000_000,
        "quota_bytes": 2_000_000_000,
        "available_bytes": 760_432_110,
        "used_gb": 1.23,
        "reserved_gb": 0.01,
        "quota_gb": 2.0,
        "percent": 61.97,
    }
    assert answer["warnings"] == []


def test_the_rest_of_the_answer() -> None:
    answer = quota_answer(COUNTERS)
    assert (answer["tier"], answer["rate_limit"]) == ("starter", {"requests_per_minute": 60})
    assert answer["period"] == {"start": "2026-05-01T00:00:00+00:00", "end": "2026-06-01T00:00:00+00:00"}
    assert answer["bandwidth"]["resets_at"] == answer["period"]["end"]


@pytest.mark.parametrize(
    ("used_bytes", "reserved_bytes", "codes"),
    [
        (1_599_999_999, 0, []),
        (1_600_000_000, 0, ["near_limit"]),
        (1_500_000_000, 100_000_000, ["near_limit"]),
        (1_999_999_999, 0, ["near_limit"]),
        (1_999_999_998, 1, ["near_limit"]),
        (2_000_000_000, 0, ["exceeded"]),
        (1_999_999_999, 1, ["exceeded"]),
        (3_000_000_000, 0, ["exceeded"]),
    ],
)
def test_a_tenant_is_warned_from_80_percent_on(
    used_bytes: int, reserved_bytes: int, codes: list[str]
) -> None:
    counters = replace(COUNTERS, storage_used_bytes=used_bytes, storage_reserved_bytes=reserved_bytes)
    assert [warning["code"] for warning in quota_answer(counters)["warnings"]] == codes


def test_a_tier_without_a_resource_says_so() -> None:
    warnings = quota_answer(replace(COUNTERS, storage_quota_bytes=0, bandwidth_quota_bytes=0))["warnings"]
    assert [(w["resource"], w["code"]) for w in warnings] == [
        ("storage", "not_included"),
        ("bandwidth", "not_included"),
    ]


def test_more_than_the_quota_leaves_nothing_available() -> None:
    assert quota_answer(replace(COUNTERS, storage_used_bytes=3 * GIGABYTE))["storage"]["available_bytes"] == 0


@pytest.mark.parametrize(
    ("used", "quota", "expected"),
    [(0, 0, 0.0), (1, 0, 100.0), (1, 3, 33.33), (2, 3, 66.66), (2 * GIGABYTE - 1, 2 * GIGABYTE, 99.99)],
)
def test_percent_is_rounded_down(used: int, quota: int, expected: float) -> None:
    assert Gauge("storage", used, 0, quota).percent == expected


@given(st.integers(0, 10**13), st.integers(1, 10**13))
def test_what_is_below_the_quota_never_shows_as_all_of_it(used: int, quota: int) -> None:
    assert (Gauge("storage", used, 0, quota).percent >= 100) == (used >= quota)
