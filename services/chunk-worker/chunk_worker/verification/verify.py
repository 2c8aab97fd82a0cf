"""Verifying assets: the SHA-256 of what the object storage really has."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Counter

from chunk_worker.bucket import check_bucket
from chunk_worker.errors import AssetObjectMissing
from jettythunder.errors import StorageUnavailable
from jettythunder.storage import ObjectMissing

# Hashed at once in a thread: large enough for the change of threads to cost little, and all that is held.
_BLOCK_BYTES = 4 << 20

_bytes = Counter("jettythunder_verified_bytes_total", "Bytes of objects read to verify their hashes")


@dataclass(frozen=True)
class Content:
    """An object's bytes: their SHA-256 in hexadecimal, and how many there are."""

    content_hash: str
    size_bytes: int


class Objects(Protocol):
    """The objects of the object storage."""

    bucket: str

    async def size_of(self, key: str) -> int: ...

    def read(
        self, key: str, *, start: int, end: int
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]: ...


class AssetVerifier:
    """Reads objects once, as streams, and hashes them beside the event loop."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    async def verify(self, *, s3_bucket: str, s3_key: str) -> Content:
        """Read an object.

        Raises:
            AssetObjectMissing: there is no such object.
            StorageUnavailable: the object storage can't be reached, or fails.
        """
        check_bucket(s3_bucket, self._objects.bucket)
        try:
            size_bytes = await self._objects.size_of(s3_key)
            async with self._objects.read(s3_key, start=0, end=size_bytes - 1) as blocks:
                found = await _hashed(blocks)
        except ObjectMissing as error:
            raise AssetObjectMissing from error
        if found.size_bytes != size_bytes:
            raise StorageUnavailable(f"The object storage gave {found.size_bytes} of {size_bytes} bytes.")
        return found


async def _hashed(blocks: AsyncIterator[bytes]) -> Content:
    digest, size_bytes = hashlib.sha256(), 0
    held: list[bytes] = []
    held_bytes = 0
    async for block in blocks:
        held.append(block)
        held_bytes += len(block)
        if held_bytes >= _BLOCK_BYTES:
            size_bytes += await _add(digest, held, held_bytes)
            held, held_bytes = [], 0
    size_bytes += await _add(digest, held, held_bytes)
    return Content(digest.hexdigest(), size_bytes)


async def _add(digest: "hashlib._Hash", blocks: list[bytes], size_bytes: int) -> int:
    def update() -> None:
        for block in blocks:
            digest.update(block)

    await asyncio.to_thread(update)
    _bytes.inc(size_bytes)
    return size_bytes
