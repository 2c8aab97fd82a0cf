"""Range headers (RFC 9110, section 14)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_gateway.assets.ranges import ByteRange, parse_range
from storage_gateway.errors import RangeNotSatisfiable

HUGE = "9" * 40


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
        ("BYTES=1-2", 1, 2),
        (" bytes = 5 - 6 ", 5, 6),
        (f"bytes=5-{HUGE}", 5, 99),
        (f"bytes=-{HUGE}", 0, 99),
    ],
)
def test_a_range_is_read(header: str, start: int, end: int) -> None:
    assert parse_range(header, 100) == ByteRange(start, end, 100)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes=-",
        "bytes=5-2",
        "bytes=0-1,5-6",
        "items=0-1",
        "bytes=a-b",
        "bytes=1",
        "bytes=+1-5",
        "bytes=1_0-20",
        "bytes=--5",
        "bytes=٣-٤",
        # More digits than Python reads.
        f"bytes=0-{'9' * 5000}",
    ],
)
def test_what_is_no_single_range_means_the_whole(header: str | None) -> None:
    assert parse_range(header, 100) is None


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-5", "bytes=-5", "bytes=-0", "bytes=7-"])
def test_any_range_of_an_empty_file_means_the_whole(header: str) -> None:
    assert parse_range(header, 0) is None


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=100-200", f"bytes={HUGE}-", "bytes=-0", "bytes=-00", "Bytes=-0"]
)
def test_a_range_outside_the_bytes_is_refused(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(header, 100)
    assert caught.value.headers == {"Content-Range": "bytes */100"}


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


@given(text=st.text(alphabet="bytes=-, 0123456789\t", max_size=30), size_bytes=st.integers(0, 100))
def test_any_header_gives_a_range_inside_the_bytes_or_the_whole(text: str, size_bytes: int) -> None:
    try:
        found = parse_range(f"bytes={text}", size_bytes)
    except RangeNotSatisfiable:
        return
    assert found is None or 0 <= found.start <= found.end < size_bytes
