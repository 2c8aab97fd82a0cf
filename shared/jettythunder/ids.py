"""Ids of our own: UUIDv7 (RFC 9562), which begin with their time, so that indexes grow at one end."""

import secrets
import time
from datetime import UTC, datetime
from uuid import UUID

_NANOSECONDS = 1_000_000


def new_id() -> UUID:
    """An id that sorts after those made earlier, by clocks that agree to about a microsecond.

    The 62 random bits tell apart ids of the same moment. They are no secret: an id says when it was made.
    """
    milliseconds, rest = divmod(time.time_ns(), _NANOSECONDS)
    # What is left of the millisecond, in 12 bits (RFC 9562, section 6.2, method 3).
    fraction = rest * 4096 // _NANOSECONDS
    return UUID(
        int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | secrets.randbits(62),
    )


def time_of(given: str) -> datetime | None:
    """When an id was made, where it is a UUIDv7 (RFC 9562)."""
    try:
        parsed = UUID(given)
        if parsed.version == 7:
            return datetime.fromtimestamp((parsed.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    return None
