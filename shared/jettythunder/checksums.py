"""Checksums that an S3 endpoint compares with what it received.

S3's own are described in https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html;
the CRCs are computed by the AWS Common Runtime, at tens of gigabytes a second.
"""

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from awscrt import checksums


class Algorithm(StrEnum):
    """How a checksum is computed. What stands first is preferred, where an endpoint verifies it."""

    CRC64NVME = "crc64nvme"
    CRC32C = "crc32c"
    MD5 = "md5"

    @property
    def digest_bytes(self) -> int:
        """The length of a checksum."""
        return _DIGEST_BYTES[self]


_DIGEST_BYTES = {Algorithm.CRC64NVME: 8, Algorithm.CRC32C: 4, Algorithm.MD5: 16}
_CRCS: dict[Algorithm, Callable[[bytes | bytearray | memoryview, int], int]] = {
    Algorithm.CRC64NVME: checksums.crc64nvme,
    Algorithm.CRC32C: checksums.crc32c,
}


@dataclass(frozen=True)
class Checksum:
    """The checksum of some bytes."""

    algorithm: Algorithm
    digest: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what :meth:`__str__` gives.

        Raises:
            ValueError: it is no checksum.
        """
        name, colon, digits = text.rpartition(":")
        algorithm = Algorithm(name) if colon else Algorithm.MD5
        digest = bytes.fromhex(digits)
        if len(digest) != algorithm.digest_bytes:
            raise ValueError(f"{algorithm} has {algorithm.digest_bytes} bytes.")
        return cls(algorithm, digest)

    @property
    def header(self) -> dict[str, str]:
        """The header of a request whose body has this checksum."""
        name = "Content-MD5" if self.algorithm is Algorithm.MD5 else f"x-amz-checksum-{self.algorithm}"
        return {name: base64.b64encode(self.digest).decode()}

    def __str__(self) -> str:
        """Hexadecimal, after the algorithm's name unless it is MD5: ``crc64nvme:9ae4…``."""
        prefix = "" if self.algorithm is Algorithm.MD5 else f"{self.algorithm}:"
        return prefix + self.digest.hex()


class Hasher:
    """Computes a checksum block by block."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._algorithm = algorithm
        self._crc = 0
        self._md5 = hashlib.md5(usedforsecurity=False) if algorithm is Algorithm.MD5 else None

    def update(self, block: bytes | bytearray | memoryview) -> None:
        """Add bytes."""
        if self._md5 is not None:
            self._md5.update(block)
        else:
            self._crc = _CRCS[self._algorithm](block, self._crc)

    def checksum(self) -> Checksum:
        """The checksum of all bytes so far."""
        if self._md5 is not None:
            return Checksum(self._algorithm, self._md5.digest())
        return Checksum(self._algorithm, self._crc.to_bytes(self._algorithm.digest_bytes, "big"))


def checksum_of(content: bytes, algorithm: Algorithm) -> Checksum:
    """The checksum of bytes that are there as a whole."""
    hasher = Hasher(algorithm)
    hasher.update(content)
    return hasher.checksum()
