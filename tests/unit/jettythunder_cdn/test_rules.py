"""The cache's rules without I/O: ranges, runs of blocks, reading ahead, who may talk to it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder_cdn.errors import HostRefused, OriginRefused, RangeNotSatisfiable
from jettythunder_cdn.guard import Guard, Tokens
from jettythunder_cdn.model import BLOCK_BYTES, FETCH_BLOCKS, ReadAhead, Span, runs
from jettythunder_cdn.ranges import parse_range

GUARD = Guard(port=53777, origins=frozenset({"https://agentcache.ai", "null", "*"}))


@given(st.sets(st.integers(0, 100)))
def test_runs_have_all_numbers_and_no_gaps(numbers: set[int]) -> None:
    found = runs(sorted(numbers))
    assert [number for run in found for number in run] == sorted(numbers)
    assert all(1 <= len(run) <= FETCH_BLOCKS for run in found)


@given(st.integers(0, 10**7), st.integers(1, 10**7))
def test_a_span_is_its_parts_of_blocks(start: int, length: int) -> None:
    span = Span(start, start + length - 1)
    parts = [span.within(number) for number in range(span.first_block, span.last_block + 1)]
    assert sum(stop - begin for begin, stop in parts) == length
    assert all(0 <= begin < stop <= BLOCK_BYTES for begin, stop in parts)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-9", Span(0, 9)),
        ("BYTES=0-9", Span(0, 9)),
        ("bytes=90-200", Span(90, 99)),
        ("bytes=-5", Span(95, 99)),
        ("bytes=-500", Span(0, 99)),
        ("bytes=7-", Span(7, 99)),
        ("bytes=9-5", None),
        ("bytes=-", None),
        ("bytes=0-1,5-6", None),
        ("items=0-9", None),
        ("bytes=\N{ARABIC-INDIC DIGIT ONE}-9", None),
    ],
)
def test_ranges_are_read_as_the_gateway_reads_them(header: str | None, expected: Span | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_ranges_outside_are_refused(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 100)


def test_only_sequential_readers_are_read_ahead() -> None:
    reader = ReadAhead()
    ahead = [reader.blocks("a", "film", Span(at * 10, at * 10 + 9)) for at in (0, 1, 2, 3, 4, 7, 8)]
    assert ahead == [0, 2, 4, 8, 8, 0, 2]
    assert reader.blocks("b", "film", Span(90, 99)) == 0


@pytest.mark.parametrize("host", ["localhost:53777", "127.0.0.1:53777", "[::1]:53777", "LOCALHOST:53777"])
def test_this_machine_s_names_are_taken(host: str) -> None:
    GUARD.check_host(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "evil.example:53777",
        "localhost",
        "localhost:80",
        "localhost.evil.example:53777",
        "127.0.0.1.nip.io:53777",
        "127.1:53777",
        "localhost:53777@evil.example",
        "localhost.:53777",
    ],
)
def test_other_names_are_refused(host: str | None) -> None:
    with pytest.raises(HostRefused):
        GUARD.check_host(host)


def test_origins() -> None:
    assert GUARD.check_origin(None, own_only=False) is None
    assert GUARD.check_origin("http://localhost:53777", own_only=True) is None
    assert GUARD.check_origin("https://agentcache.ai", own_only=False) == "https://agentcache.ai"
    for origin in ("null", "*", "", "http://agentcache.ai", "https://agentcache.ai.evil.example"):
        with pytest.raises(OriginRefused):
            GUARD.check_origin(origin, own_only=False)
    for origin in ("https://agentcache.ai", "http://localhost:3000", "https://localhost:53777"):
        with pytest.raises(OriginRefused):
            GUARD.check_origin(origin, own_only=True)


def test_the_token_s_file_is_its_owner_s_alone(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert Tokens(tmp_path).machine == tokens.machine
    assert tokens.is_machine(f"Bearer {tokens.machine}")
    for wrong in (None, "", "Bearer", "Bearer ", f"Basic {tokens.machine}", "Bearer \udc80", "Bearer x"):
        assert not tokens.is_machine(wrong)
        assert not tokens.is_session(wrong)
    session = tokens.begin_session()
    assert Tokens(tmp_path).is_session(f"Bearer {session}")
    assert session not in (tmp_path / "sessions.json").read_text()
    tokens.end_sessions()
    assert not tokens.is_session(f"Bearer {session}")
