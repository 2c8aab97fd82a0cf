"""Assets, credentials and blocks: what the cache is about. Rules only, without I/O."""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

BLOCK_BYTES = 1024 * 1024
FETCH_BLOCKS = 8
"""Blocks of one request to the gateway at most."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Asset:
    """An asset's immutable bytes, as the gateway describes them."""

    id: str
    etag: str
    size_bytes: int
    content_type: str
    disposition: str
    modified: str

    @property
    def sha256(self) -> str | None:
        """The SHA-256 that the entity tag is; None where the gateway has not verified it."""
        return self.etag if _SHA256.fullmatch(self.etag) else None

    @property
    def content(self) -> str:
        """The name of its bytes in the store: equal verified hashes share them."""
        return self.sha256 or hashlib.sha256(self.etag.encode()).hexdigest()

    @property
    def block_count(self) -> int:
        return -(-self.size_bytes // BLOCK_BYTES)

    def block_size(self, number: int) -> int:
        """Bytes of a block, which are fewer in the last one."""
        return min(BLOCK_BYTES, self.size_bytes - number * BLOCK_BYTES)


@dataclass(frozen=True)
class Credential:
    """By what right an asset is asked for: the account's key, or one signed link."""

    id: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: str = field(default="", repr=False)
    expires_at: float | None = None


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` to ``end``, inclusive, of an asset."""

    start: int
    end: int

    @property
    def length_bytes(self) -> int:
        return self.end - self.start + 1

    @property
    def first_block(self) -> int:
        return self.start // BLOCK_BYTES

    @property
    def last_block(self) -> int:
        return self.end // BLOCK_BYTES

    def within(self, block: int) -> tuple[int, int]:
        """Where the span begins and ends (exclusive) inside a block."""
        base = block * BLOCK_BYTES
        return max(self.start - base, 0), min(self.end + 1 - base, BLOCK_BYTES)


def runs(numbers: Iterable[int], *, longest: int = FETCH_BLOCKS) -> list[range]:
    """Ascending numbers as runs without gaps, each of ``longest`` at most."""
    found: list[range] = []
    for number in numbers:
        if found and found[-1].stop == number and len(found[-1]) < longest:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found


class ReadAhead:
    """How many blocks to fetch beyond a range: none, unless a reader goes on where it ended before.

    The second range in sequence has 2 blocks fetched ahead, the next one 4, then 8.
    """

    def __init__(self, *, remembered: int = 256) -> None:
        self._readers: dict[tuple[str, str], tuple[int, int]] = {}
        self._remembered = remembered

    def blocks(self, credential: str, asset: str, span: Span) -> int:
        """Note a range that is read; how many blocks to fetch beyond it."""
        next_start, streak = self._readers.pop((credential, asset), (-1, 0))
        streak = streak + 1 if span.start == next_start else 0
        self._readers[credential, asset] = (span.end + 1, streak)
        while len(self._readers) > self._remembered:
            del self._readers[next(iter(self._readers))]
        return 0 if streak == 0 else min(2**streak, FETCH_BLOCKS)
