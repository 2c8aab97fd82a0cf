"""Content in which each place tells where it is."""


def numbers(size_bytes: int) -> bytes:
    """Bytes of which no two places look the same."""
    return b"".join(number.to_bytes(4, "big") for number in range(size_bytes // 4))
