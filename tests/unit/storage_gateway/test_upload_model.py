"""What an upload is: its states, its plan of chunks, its size against the tier."""

from decimal import Decimal
from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jettythunder.errors import InvalidField
from jettythunder.units import MEGABYTE
from storage_gateway.errors import FileTooLarge, StorageNotIncluded
from storage_gateway.uploads.model import (
    MAX_CHUNK_BYTES,
    MAX_CHUNKS,
    MIN_CHUNK_BYTES,
    ChunkPlan,
    ChunkSizes,
    Status,
    StoredChunk,
    check_size,
    joined_md5,
    plan_chunks,
)

from .fakes import made_tenant, received_upload

sizes = st.integers(1, 5_000 * MEGABYTE)
SIZES = ChunkSizes(10, 50, 100)


def test_an_upload_is_open_until_it_comes_to_an_end() -> None:
    assert {status for status in Status if status.is_open} == {"created", "receiving", "completing"}
    assert {status for status in Status if status.takes_chunks} == {"created", "receiving"}


@given(size_bytes=st.integers(1, MAX_CHUNKS * MAX_CHUNK_BYTES), wanted_bytes=st.integers(1, 10**13))
def test_any_file_is_cut_into_chunks_that_s3_takes(size_bytes: int, wanted_bytes: int) -> None:
    plan = plan_chunks(size_bytes, wanted_bytes)
    assert 1 <= plan.count <= MAX_CHUNKS
    assert MIN_CHUNK_BYTES <= plan.chunk_size_bytes <= MAX_CHUNK_BYTES
    assert plan.size_of(1) * (plan.count - 1) + plan.size_of(plan.count) == size_bytes
    assert 0 < plan.size_of(plan.count) <= plan.chunk_size_bytes


@pytest.mark.parametrize("number", [0, -1, 4])
def test_there_are_no_chunks_but_those_of_the_plan(number: int) -> None:
    with pytest.raises(InvalidField, match="has 3"):
        ChunkPlan(25, 10).size_of(number)


@given(count=st.integers(1, 40), have=st.sets(st.integers(1, 40)))
def test_missing_chunks_are_listed_as_ranges(count: int, have: set[int]) -> None:
    plan = ChunkPlan(count * 10 - 3, 10)
    have = {number for number in have if number <= count}
    ranges = plan.missing({number: plan.size_of(number) for number in have})
    listed = list(chain.from_iterable(range(first, last + 1) for first, last in ranges))
    assert listed == sorted(set(range(1, count + 1)) - have)
    assert all(after - before > 1 for (_, before), (after, _) in pairwise(ranges))


def test_a_chunk_of_another_size_is_missing() -> None:
    assert ChunkPlan(25, 10).missing({1: 10, 2: 9, 3: 5}) == [[2, 2]]


def test_a_tier_without_storage_takes_nothing() -> None:
    with pytest.raises(StorageNotIncluded):
        check_size(made_tenant(storage_quota_gb=0), None)


def test_a_file_may_have_the_size_that_the_tier_allows_and_no_more() -> None:
    tenant = made_tenant(max_file_size_mb=50)
    check_size(tenant, None)
    check_size(tenant, 50 * MEGABYTE)
    with pytest.raises(FileTooLarge, match="50 MB"):
        check_size(tenant, 50 * MEGABYTE + 1)


@pytest.mark.parametrize(
    ("size_bytes", "seconds", "mbps"),
    [(0, 1.0, None), (1_000_000, 1.0, Decimal("8.00")), (5_000_000_000, 0.0, Decimal("99999999.00"))],
)
def test_an_upload_s_speed_is_in_megabits(size_bytes: int, seconds: float, mbps: Decimal | None) -> None:
    assert received_upload(size_bytes=size_bytes, duration_seconds=seconds).speed_mbps == mbps


@pytest.mark.parametrize(
    ("file_bytes", "received_bytes", "chunk_bytes"),
    [
        (80, 10, 10),
        (310, 10, 30),
        (300, 150, 15),
        (300, 290, 10),
        (9_999_999, 10, 50),
        (None, 40, 10),
        (None, 100, 25),
        (None, 9_999_999, 50),
    ],
)
def test_the_chunks_of_a_form_follow_what_is_left_of_its_file(
    file_bytes: int | None, received_bytes: int, chunk_bytes: int
) -> None:
    assert SIZES.of(file_bytes, received_bytes=received_bytes, seconds=0.1) == chunk_bytes


@pytest.mark.parametrize(
    ("file_bytes", "received_bytes", "chunk_bytes"),
    [(300, 10, 100), (300, 150, 75), (300, 210, 45), (300, 290, 10), (None, 100, 25), (None, 800, 100)],
)
def test_where_storing_keeps_up_they_are_larger(
    file_bytes: int | None, received_bytes: int, chunk_bytes: int
) -> None:
    assert SIZES.of(file_bytes, received_bytes=received_bytes, seconds=0.1, keeps_up=True) == chunk_bytes


@pytest.mark.parametrize(("seconds", "chunk_bytes"), [(10, 90), (20, 50), (1_000, 10)])
def test_they_are_no_larger_than_what_comes_in_ten_seconds(seconds: float, chunk_bytes: int) -> None:
    assert SIZES.of(280, received_bytes=100, seconds=seconds, keeps_up=True) == chunk_bytes


@pytest.mark.parametrize(
    ("room_bytes", "sizes"),
    [
        (1_000, ChunkSizes(10, 50, 100)),
        (400, ChunkSizes(10, 20, 80)),
        # One at a time goes on where there is no room for all.
        (20, ChunkSizes(10, 10, 10)),
    ],
)
def test_as_many_as_may_be_on_their_way_fit_the_room(room_bytes: int, sizes: ChunkSizes) -> None:
    assert ChunkSizes.within(room_bytes, least_bytes=10, in_flight=20) == sizes


def test_the_joined_md5_is_that_of_the_chunks_binary_md5s() -> None:
    md5s = ("0cc175b9c0f1b6a831c399e269772661", "92eb5ffee6ae2fec3ad71c777531578f")
    chunks = [StoredChunk(number, 1, md5, "etag") for number, md5 in enumerate(md5s, 1)]
    assert joined_md5(chunks) == "96e024ba2074fe77e8e965ba43a704be"
