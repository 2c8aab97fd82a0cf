"""When to try again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder_client.errors import ApiError
from jettythunder_client.problems import retry_after_seconds
from jettythunder_client.retry import backoff_seconds, worth_repeating


@pytest.mark.parametrize(
    ("code", "status", "retryable", "expected"),
    [
        ("gateway_busy", 503, True, True),
        ("rate_limited", 429, True, True),
        ("upload_incomplete", 409, True, False),
        ("storage_quota_exceeded", 413, False, False),
    ],
)
def test_only_what_passes_by_itself_is_repeated(
    code: str, status: int, retryable: bool, expected: bool
) -> None:
    error = ApiError("refused", code=code, status=status, retryable=retryable)
    assert worth_repeating(error) is expected


@given(failures=st.integers(1, 10_000), spread=st.floats(0, 1))
def test_pauses_grow_to_the_cap_and_never_vanish(failures: int, spread: float) -> None:
    pause = backoff_seconds(failures, base=0.25, cap=15, spread=spread)
    whole = min(15.0, 0.25 * 2 ** min(failures - 1, 30))
    assert whole / 2 <= pause <= whole


def test_retry_after_takes_seconds_and_dates() -> None:
    assert retry_after_seconds("7") == 7.0
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    assert retry_after_seconds(in_a_minute) == pytest.approx(60, abs=5)
    assert retry_after_seconds("soon") is None
    assert retry_after_seconds(None) is None
