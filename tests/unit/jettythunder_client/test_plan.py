"""How files are cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jettythunder_client.plan import (
    MAX_CHUNK_BYTES,
    MAX_CHUNKS,
    MIN_CHUNK_BYTES,
    choose_chunk_size,
    chunk_range,
    chunk_sizes,
)

MB = 1_000_000
TERABYTE = 10**12


@given(
    size=st.integers(1, 40 * TERABYTE),
    usual=st.integers(1, 5000).map(lambda mb: mb * MB),
    speed=st.none() | st.floats(1, 1e10),
    fixed=st.booleans(),
)
def test_a_chunk_size_is_what_s3_takes(size: int, usual: int, speed: float | None, fixed: bool) -> None:
    chunk = choose_chunk_size(size, usual_bytes=usual, bytes_per_second=speed, fixed=fixed)
    assert MIN_CHUNK_BYTES <= chunk <= MAX_CHUNK_BYTES
    assert -(-size // chunk) <= MAX_CHUNKS


def test_a_chunk_takes_a_few_seconds_at_the_known_speed() -> None:
    chunk = choose_chunk_size(100_000 * MB, usual_bytes=10 * MB, bytes_per_second=8 * MB)
    assert 24 * MB <= chunk <= 40 * MB


def test_a_small_file_gives_every_edge_something_to_do() -> None:
    chunk = choose_chunk_size(400 * MB, usual_bytes=100 * MB, bytes_per_second=None)
    assert 400 * MB / chunk > 30


def test_a_size_that_was_asked_for_is_kept() -> None:
    assert choose_chunk_size(400 * MB, usual_bytes=64 * MB, bytes_per_second=1e6, fixed=True) == 64 * MB


@given(size=st.integers(1, 100 * MB), chunk=st.integers(1 * MB, 200 * MB))
def test_chunks_cover_the_file_without_gap_or_overlap(size: int, chunk: int) -> None:
    end = 0
    for number, length in chunk_sizes(chunk_size_bytes=chunk, size_bytes=size).items():
        offset, ranged = chunk_range(number, chunk_size_bytes=chunk, size_bytes=size)
        assert (offset, ranged) == (end, length)
        assert 0 < length <= chunk
        end += length
    assert end == size
