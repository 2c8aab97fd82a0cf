"""Ranges of bytes (RFC 9110, section 14)."""

import re
from dataclasses import dataclass

from werkzeug.http import parse_range_header

from storage_gateway.errors import RangeNotSatisfiable

# The last no bytes: well-formed, and never satisfiable.
_EMPTY_SUFFIX = re.compile(r"bytes=-0+", re.IGNORECASE)


@dataclass(frozen=True)
class ByteRange:
    """Bytes ``start`` to ``end``, inclusive, of ``size_bytes``."""

    start: int
    end: int
    size_bytes: int

    @classmethod
    def whole(cls, size_bytes: int) -> "ByteRange":
        """All bytes."""
        return cls(0, size_bytes - 1, size_bytes)

    @property
    def length_bytes(self) -> int:
        return self.end - self.start + 1

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.end}/{self.size_bytes}"


def parse_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """The single range a Range header asks for, or None for the whole.

    Several ranges, other units and malformed headers are answered with the whole, as the RFC allows, and so
    is any range of an empty file.

    Raises:
        RangeNotSatisfiable: the range lies outside the bytes.
    """
    wanted = parse_range_header(header)
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1 or size_bytes == 0:
        if size_bytes and _EMPTY_SUFFIX.fullmatch(header or ""):
            raise _outside(size_bytes)
        return None
    first, stop = wanted.ranges[0]
    start = first if first >= 0 else max(0, size_bytes + first)
    end = size_bytes - 1 if stop is None else min(stop, size_bytes) - 1
    if start > end:
        raise _outside(size_bytes)
    return ByteRange(start, end, size_bytes)


def _outside(size_bytes: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(headers={"Content-Range": f"bytes */{size_bytes}"})
