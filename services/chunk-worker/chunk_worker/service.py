"""Storing chunks: from a stream of bytes to a part that the object storage acknowledged, and its record."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

from prometheus_client import Counter, Histogram

from chunk_worker import domain
from chunk_worker.domain import Chunk, RecordedChunk
from chunk_worker.repository import Repository
from jettythunder import outbox, telemetry
from jettythunder.contracts.uploads import ChunkFailedV1, ChunkUploadedV1
from jettythunder.database import Pool
from jettythunder.errors import ConfigurationError, UploadNotFound, UploadNotOpen
from jettythunder.storage import ObjectMissing, Storage

log = telemetry.logger(__name__)

SOURCE = "/chunk-worker"

_bytes = Counter("jettythunder_chunk_bytes_total", "Bytes of chunks the object storage acknowledged")
_repeated = Counter("jettythunder_chunks_repeated_total", "Chunks sent again that were stored already")
_seconds = Histogram("jettythunder_chunk_seconds", "Time to store a chunk")

Body = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]


class ChunkStore:
    """Stores chunks of open uploads as parts.

    Guarantee: a chunk is recorded, and its event written in the same statement, only after the object storage
    has acknowledged bytes of its size and checksum. A chunk with the same bytes as the recorded one is
    answered from the record; other bytes replace it while the upload is open: the last write wins, as in S3.
    """

    def __init__(self, *, pool: Pool, repository: Repository, storage: Storage, edge: str) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage
        self._edge = edge

    async def store(self, chunk: Chunk, body: Body) -> RecordedChunk:
        """Store one chunk. ``body`` is opened only where its bytes are needed.

        Raises:
            UploadNotFound: the account has no such upload.
            UploadNotOpen: the upload takes no more chunks.
            ChecksumMismatch: the bytes are not the announced ones; nothing was stored.
            StorageUnavailable: the object storage can't be reached, or fails.
        """
        progress = await self._repository.fetch_progress(
            self._pool, upload_id=chunk.upload_id, account_id=chunk.account_id, number=chunk.number
        )
        if progress is None:
            raise UploadNotFound
        if (recorded := domain.stored_already(progress, chunk.md5)) is not None:
            _repeated.inc()
            return recorded
        started = time.monotonic()
        etag = await self._upload(chunk, body)
        stored = RecordedChunk(chunk.number, chunk.size_bytes, chunk.md5, etag, self._edge)
        await self._record(chunk, stored)
        seconds = time.monotonic() - started
        _bytes.inc(chunk.size_bytes)
        _seconds.observe(seconds)
        log.info(
            "chunk stored",
            upload_id=str(chunk.upload_id),
            number=chunk.number,
            size_bytes=chunk.size_bytes,
            seconds=round(seconds, 3),
        )
        return stored

    async def _upload(self, chunk: Chunk, body: Body) -> str:
        if chunk.s3_bucket != self._storage.bucket:
            raise ConfigurationError(
                f"The chunk is for bucket {chunk.s3_bucket}, this worker stores in {self._storage.bucket}: "
                "give gateways and workers the same LYVE_BUCKET_NAME."
            )
        try:
            async with body() as blocks:
                part = await self._storage.upload_part(
                    chunk.s3_key,
                    chunk.s3_upload_id,
                    chunk.number,
                    lambda: blocks,
                    size_bytes=chunk.size_bytes,
                    md5=chunk.md5,
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
            md5=stored.md5,
            etag=stored.etag,
            edge=stored.edge,
        )
        if not await self._repository.record_chunk(
            self._pool, upload_id=chunk.upload_id, chunk=stored, events=outbox.rows(event, source=SOURCE)
        ):
            raise UploadNotOpen

    async def report_failure(self, chunk: Chunk, code: str) -> None:
        """Tell by event that a chunk can't be stored and won't be tried again."""
        event = ChunkFailedV1(
            account_id=chunk.account_id,
            upload_id=chunk.upload_id,
            number=chunk.number,
            code=code,
            edge=self._edge,
        )
        async with self._pool.acquire() as connection, connection.transaction():
            await outbox.write(connection, event, source=SOURCE)
