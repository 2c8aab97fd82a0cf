"""Content in which no two places look the same."""

import random


def content_of(size_bytes: int) -> bytes:
    """The same bytes at each call."""
    return random.Random(0).randbytes(size_bytes)
