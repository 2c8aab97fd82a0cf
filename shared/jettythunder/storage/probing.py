"""What an endpoint supports, by trying it: nothing is believed that was not seen."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from uuid import uuid4

from jettythunder import telemetry
from jettythunder.checksums import Algorithm, Checksum, checksum_of
from jettythunder.errors import ChecksumMismatch, StorageUnavailable
from jettythunder.lifecycle import Periodic
from jettythunder.storage.answers import StoredPart
from jettythunder.storage.client import Storage

log = telemetry.logger(__name__)

_CONTENT = b"JettyThunder tries what this endpoint verifies."
_CHANGED = _CONTENT[::-1]
_CONTENT_TYPE = "application/octet-stream"
_DAY_SECONDS = 86_400
_FIRST_SECONDS = 5.0


@dataclass(frozen=True)
class Capabilities:
    """What an endpoint was seen to support; by default what every one does.

    Attributes:
        algorithm: the first checksum of our order that it compares with what it receives.
        etag_is_md5: whether the entity tag of a part is its MD5, which it is not where objects are encrypted
            with keys of one's own (SSE-KMS, SSE-C).
    """

    algorithm: Algorithm = Algorithm.MD5
    etag_is_md5: bool = False


class Probe:
    """Knows the capabilities of the endpoint, which are tried at start and each day.

    Args:
        prefix: where throwaway objects may be made.
    """

    def __init__(self, storage: Storage, *, prefix: str) -> None:
        self._storage = storage
        self._prefix = prefix
        self._trying = Periodic("storage-probe", self._try, interval_seconds=_DAY_SECONDS)
        self._tried = asyncio.Event()
        self.capabilities = Capabilities()

    async def start(self) -> None:
        """Begin, and wait a few seconds for the first answer; until it is there, the capabilities are the
        default ones."""
        self._trying.start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_SECONDS):
                await self._tried.wait()

    async def close(self) -> None:
        """Stop."""
        await self._trying.close()

    async def _try(self) -> None:
        self.capabilities = await probe(self._storage, self._prefix)
        self._tried.set()


async def probe(storage: Storage, prefix: str) -> Capabilities:
    """Try what differs between S3 servers, with throwaway objects under ``prefix``.

    Raises:
        StorageUnavailable: the endpoint can't be reached, or fails.
    """
    key = f"{prefix}probe-{uuid4()}"
    # An endpoint that does not take this either says nothing about checksums.
    await storage.put(key, _CONTENT, content_type=_CONTENT_TYPE)
    try:
        verified = await _first_verified(storage, key)
        etag_is_md5 = await _gives_md5(storage, key)
    finally:
        await storage.delete(key)
    if verified is None:
        log.warning("the object storage compares no checksum with what it receives")
    found = Capabilities(verified or Algorithm.MD5, etag_is_md5)
    log.info("object storage probed", checksum=found.algorithm, etag_is_md5=found.etag_is_md5)
    return found


async def _first_verified(storage: Storage, key: str) -> Algorithm | None:
    """The first of our order that the endpoint verifies; those after it are not tried."""
    for algorithm in Algorithm:
        if await _verifies(storage, key, algorithm):
            return algorithm
    return None


async def _verifies(storage: Storage, key: str, algorithm: Algorithm) -> bool:
    """Whether objects and parts with this checksum are taken, and refused where it is another content's."""
    checksum = checksum_of(_CONTENT, algorithm)
    try:
        upload_id = await storage.create_multipart(key, content_type=_CONTENT_TYPE, algorithm=algorithm)
        try:
            are_taken = [
                await _is_taken(store(storage, key, upload_id, content, checksum))
                for content in (_CONTENT, _CHANGED)
                for store in (_store_object, _store_part)
            ]
        finally:
            await storage.abort_multipart(key, upload_id)
    except StorageUnavailable:
        # It does not know the algorithm.
        return False
    return are_taken == [True, True, False, False]


async def _is_taken(storing: Awaitable[object]) -> bool:
    try:
        await storing
    except ChecksumMismatch:
        return False
    return True


async def _store_object(storage: Storage, key: str, _: str, content: bytes, checksum: Checksum) -> None:
    await storage.put_streamed(
        key,
        lambda: _one_block(content),
        size_bytes=len(content),
        checksum=checksum,
        content_type=_CONTENT_TYPE,
    )


async def _store_part(
    storage: Storage, key: str, upload_id: str, content: bytes, checksum: Checksum
) -> StoredPart:
    return await storage.upload_part(
        key, upload_id, 1, lambda: _one_block(content), size_bytes=len(content), checksum=checksum
    )


async def _gives_md5(storage: Storage, key: str) -> bool:
    """Whether a part's entity tag is its MD5."""
    md5 = checksum_of(_CONTENT, Algorithm.MD5)
    upload_id = await storage.create_multipart(key, content_type=_CONTENT_TYPE)
    try:
        part = await _store_part(storage, key, upload_id, _CONTENT, md5)
    finally:
        await storage.abort_multipart(key, upload_id)
    return part.etag.strip('"') == md5.digest.hex()


async def _one_block(content: bytes) -> AsyncIterator[bytes]:
    yield content
