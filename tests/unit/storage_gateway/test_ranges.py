"""Range headers (RFC 9110, section 14)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_gateway.domain import ByteRange, parse_range

from jettythunder.errors import RangeNotSatisfiable


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=10-", 10, 99),
        ("bytes=99-99", 99, 99),
        ("bytes=90-1000", 90, 99),
        ("bytes=-1", 99, 99),
        ("bytes=-1000", 0, 99),
        (" bytes = 5 - 6 ", 5, 6),
    ],
)
def test_a_range_is_read(header: str, start: int, end: int) -> None:
    assert parse_range(header, 100) == ByteRange(start, end, 100)


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes=-", "bytes=5-2", "bytes=0-1,5-6", "items=0-1", "bytes=a-b", "bytes=1", "bytes=٣-٤"],
)
def test_what_is_no_single_range_means_the_whole(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize(
    ("header", "size_bytes"),
    [("bytes=100-", 100), ("bytes=100-200", 100), ("bytes=-0", 100), ("bytes=0-", 0), ("bytes=-5", 0)],
)
def test_a_range_outside_the_bytes_is_refused(header: str, size_bytes: int) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, size_bytes)


@pytest.mark.parametrize("header", [f"bytes={'9' * 5000}-", f"bytes=0-{'9' * 5000}", f"bytes=-{'9' * 5000}"])
def test_absurd_numbers_are_refused(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 100)


@given(size_bytes=st.integers(1, 10**12), first=st.integers(0, 10**12), length=st.integers(1, 10**12))
def test_a_range_is_the_slice_it_names(size_bytes: int, first: int, length: int) -> None:
    header = f"bytes={first}-{first + length - 1}"
    if first >= size_bytes:
        with pytest.raises(RangeNotSatisfiable):
            parse_range(header, size_bytes)
        return
    found = parse_range(header, size_bytes)
    assert found is not None
    assert (found.start, found.length_bytes) == (first, min(length, size_bytes - first))
    assert found.content_range == f"bytes {found.start}-{found.end}/{size_bytes}"
