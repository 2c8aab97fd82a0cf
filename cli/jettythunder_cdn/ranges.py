"""Ranges and conditions of requests (RFC 9110, sections 13 and 14)."""

import re

from jettythunder_cdn.errors import PreconditionFailed, RangeNotSatisfiable
from jettythunder_cdn.model import Span

_RANGE = re.compile(r"bytes=\s*(\d{1,19})?-(\d{1,19})?\s*", re.IGNORECASE | re.ASCII)
_TAGS = re.compile(r'(W/)?"([^"]*)"')


def parse_range(header: str | None, size_bytes: int) -> Span | None:
    """The single range that a Range header asks for, or None for the whole.

    Several ranges, other units and malformed headers are answered with the whole, as the RFC allows, and so
    is any range of an empty asset.

    Raises:
        RangeNotSatisfiable: the range lies outside the bytes.
    """
    found = _RANGE.fullmatch(header or "")
    if found is None or found.groups() == (None, None) or size_bytes == 0:
        return None
    first, last = found.groups()
    if first is None:
        start, end = max(0, size_bytes - int(last)), size_bytes - 1
    else:
        start, end = int(first), size_bytes - 1 if last is None else min(int(last), size_bytes - 1)
        if last is not None and int(last) < start:
            return None
    if start > end:
        raise RangeNotSatisfiable(size_bytes)
    return Span(start, end)


def names(header: str, etag: str, *, weak: bool) -> bool:
    """Whether a list of entity tags has this one; ``weak`` lets weak ones count."""
    if header.strip() == "*":
        return True
    return any(tag == etag and (weak or not is_weak) for is_weak, tag in _TAGS.findall(header))


def is_known(*, if_match: str | None, if_none_match: str | None, etag: str) -> bool:
    """Whether the client has these very bytes (304).

    Raises:
        PreconditionFailed: it asks for others (412).
    """
    if if_match is not None and not names(if_match, etag, weak=False):
        raise PreconditionFailed
    return if_none_match is not None and names(if_none_match, etag, weak=True)
