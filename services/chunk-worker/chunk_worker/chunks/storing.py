"""Storing chunks: from a stream of bytes to a part that the object storage acknowledged, and its record."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol
from uuid import UUID

from prometheus_client import Counter, Histogram

from chunk_worker.bucket import check_bucket
from jettythunder import telemetry, tracing
from jettythunder.checksums import Checksum
from jettythunder.chunks.model import Chunk, RecordedChunk, Upload, stored_already
from jettythunder.contracts.uploads import ChunkUploadedV1
from jettythunder.errors import UploadNotFound, UploadNotOpen
from jettythunder.storage import ObjectMissing, StoredPart

log = telemetry.logger(__name__)

_bytes = Counter("jettythunder_chunk_bytes_total", "Bytes of chunks the object storage acknowledged")
_repeated = Counter("jettythunder_chunks_repeated_total", "Chunks sent again that were stored already")
_seconds = Histogram("jettythunder_chunk_seconds", "Time to store a chunk")

Blocks = AsyncIterator[bytes]
Body = Callable[[], AbstractAsyncContextManager[Blocks]]


class Chunks(Protocol):
    """What is recorded of uploads and their chunks."""

    async def upload(self, upload_id: UUID, *, account_id: UUID, number: int) -> Upload | None: ...

    async def record(self, event: ChunkUploadedV1, *, epoch: int | None) -> bool: ...


class Parts(Protocol):
    """The parts of multipart uploads in the object storage."""

    bucket: str

    async def upload_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: Callable[[], Blocks],
        *,
        size_bytes: int,
        checksum: Checksum,
        attempts: int,
    ) -> StoredPart: ...


class ChunkStore:
    """Stores chunks of open uploads as parts.

    Guarantee: a chunk is recorded, and its event written in the same statement, only after the object storage
    has acknowledged bytes of its size and checksum. A chunk with the same bytes as the recorded one is
    answered from the record; other bytes replace it while the upload is open: the last write wins, as in S3.
    """

    def __init__(self, chunks: Chunks, parts: Parts, *, edge: str) -> None:
        self._chunks = chunks
        self._parts = parts
        self._edge = edge

    async def store(self, chunk: Chunk, body: Body) -> RecordedChunk:
        """Store one chunk. ``body`` is opened only where its bytes are needed.

        Raises:
            UploadNotFound: the account has no such upload.
            UploadNotOpen: the upload takes no more chunks.
            LinkInvalid: the upload has another object key or multipart upload.
            LinkRevoked: the account's tokens were revoked since the chunk's was made.
            ChecksumMismatch: the bytes are not the announced ones; nothing was stored.
            StorageUnavailable: the object storage can't be reached, or fails.
        """
        upload = await self._chunks.upload(chunk.upload_id, account_id=chunk.account_id, number=chunk.number)
        if upload is None:
            raise UploadNotFound
        if (recorded := stored_already(upload, chunk)) is not None:
            _repeated.inc()
            return recorded
        started = time.monotonic()
        etag = await self._upload(chunk, body)
        stored = RecordedChunk(chunk.number, chunk.size_bytes, chunk.checksum, etag, self._edge)
        await self._record(chunk, stored)
        seconds = time.monotonic() - started
        _bytes.inc(chunk.size_bytes)
        _seconds.observe(seconds, tracing.exemplar())
        log.info(
            "chunk stored",
            upload_id=str(chunk.upload_id),
            number=chunk.number,
            size_bytes=chunk.size_bytes,
            seconds=round(seconds, 3),
        )
        return stored

    async def _upload(self, chunk: Chunk, body: Body) -> str:
        check_bucket(chunk.s3_bucket, self._parts.bucket)
        try:
            async with body() as blocks:
                part = await self._parts.upload_part(
                    chunk.s3_key,
                    chunk.s3_upload_id,
                    chunk.number,
                    lambda: blocks,
                    size_bytes=chunk.size_bytes,
                    checksum=chunk.checksum,
                    # The stream can't be opened again.
                    attempts=1,
                )
        except ObjectMissing as error:
            raise UploadNotOpen from error
        return part.etag

    async def _record(self, chunk: Chunk, stored: RecordedChunk) -> None:
        event = ChunkUploadedV1(
            account_id=chunk.account_id,
            upload_id=chunk.upload_id,
            number=stored.number,
            size_bytes=stored.size_bytes,
            md5=str(stored.checksum),
            etag=stored.etag,
            edge=stored.edge,
        )
        if not await self._chunks.record(event, epoch=chunk.epoch):
            raise UploadNotOpen
