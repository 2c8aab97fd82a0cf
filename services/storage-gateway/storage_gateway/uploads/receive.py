"""The upload path: from a form's bytes on a socket to an asset in the object storage.

Guarantees given here: storage is reserved before the first byte is read, in the statement that creates the
upload; an upload that fails in any way is closed together with the event that releases its reservation, and
leaves nothing in the object storage; nothing is acknowledged before the object storage has it.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from jettythunder import outbox, telemetry
from jettythunder.contracts.uploads import UploadCreatedV1
from jettythunder.database import CONNECTION_ERRORS, Pool
from jettythunder.errors import (
    ContentHashMismatch,
    DatabaseUnavailable,
    FileTooLarge,
    JettyThunderError,
    MissingFile,
    MultipleFiles,
    ShuttingDown,
    StorageNotIncluded,
    UploadNotOpen,
)
from jettythunder.storage import ObjectMissing, Storage, StoredPart
from storage_gateway import domain
from storage_gateway.domain import MEGABYTE, Tenant, UploadOptions
from storage_gateway.form import Form, Part
from storage_gateway.repository import NewUpload, Repository
from storage_gateway.service import SOURCE
from storage_gateway.service.chunks import ChunkDispatcher
from storage_gateway.service.closing import Closer, Received, Result
from storage_gateway.service.multipart import Multipart
from storage_gateway.service.reserving import quota_exceeded
from storage_gateway.spool import BLOCK_BYTES, Spool, SpooledChunk

log = telemetry.logger(__name__)

# Fields that follow the file are within the body's length but not of the file: before its end is seen, a file
# is refused for its size only when it is over by more than they can explain.
_TRAILING_FIELDS_BYTES = 65_536

_LAST_PARTS_SECONDS = 5.0

# Hashing this little takes less time than handing it to a thread.
_INLINE_BYTES = 64 * 1024


@dataclass
class Receiving:
    """An upload whose bytes are arriving."""

    upload_id: UUID
    tenant: Tenant
    filename: str
    content_type: str
    s3_key: str
    reserved_bytes: int
    started_at: float
    lease_renewed_at: float
    size_bytes: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)
    s3_upload_id: str | None = None
    parts: list[StoredPart] = field(default_factory=list)
    storing: set[asyncio.Task[StoredPart]] = field(default_factory=set)
    small: SpooledChunk | None = None


class Uploads:
    """Receives forms, stores their file and closes uploads."""

    def __init__(
        self,
        *,
        pool: Pool,
        repository: Repository,
        storage: Storage,
        spool: Spool,
        dispatcher: ChunkDispatcher,
        closer: Closer,
        multipart: Multipart,
        chunk_size_bytes: int,
        chunks_in_flight: int,
        lease_seconds: int,
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage
        self._spool = spool
        self._dispatcher = dispatcher
        self._closer = closer
        self._multipart = multipart
        self._chunk_size_bytes = chunk_size_bytes
        self._chunks_in_flight = chunks_in_flight
        self._lease_seconds = lease_seconds
        self._closing: set[asyncio.Task[None]] = set()

    async def receive_form(self, tenant: Tenant, form: Form) -> Result:
        """Take a form's file and fields and make them an asset.

        Raises:
            JettyThunderError: of the error table; nothing is stored then and nothing stays reserved.
        """
        upload: Receiving | None = None
        fields: dict[str, str] = {}
        try:
            async for part in form.parts():
                if part.name != "file" or part.filename is None:
                    fields[part.name] = await part.text()
                elif upload is not None:
                    raise MultipleFiles
                else:
                    upload = self._expected(tenant, part)
                    await self._receive_file(upload, part)
            if upload is None:
                raise MissingFile
            options = domain.parse_options(fields, now=datetime.now(UTC))
            return await self._finish(upload, options)
        except BaseException as error:
            failure = _single(error)
            if upload is not None:
                await self._abort_surely(upload, failure)
            if failure is error:
                raise
            raise failure from error

    async def close(self) -> None:
        """Wait for aborts under way."""
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _expected(self, tenant: Tenant, part: Part) -> Receiving:
        upload_id = uuid4()
        filename = domain.safe_filename(part.filename)
        now = time.monotonic()
        return Receiving(
            upload_id=upload_id,
            tenant=tenant,
            filename=filename,
            content_type=domain.content_type_of(part.content_type, filename),
            s3_key=domain.object_key(tenant.s3_prefix, upload_id, filename),
            reserved_bytes=0,
            started_at=now,
            lease_renewed_at=now,
        )

    async def _receive_file(self, upload: Receiving, part: Part) -> None:
        """Read the part to its end; when this returns, all its chunks but a small file's are stored."""
        pieces = part.blocks()
        first = await anext(pieces, None)
        most_bytes = part.most_bytes() if first is not None else 0
        await self._create(upload, most_bytes)
        in_flight = asyncio.Semaphore(self._chunks_in_flight)
        async with asyncio.TaskGroup() as stores:
            chunk: SpooledChunk | None = None
            async for block in _in_blocks(first, pieces, self._chunk_size_bytes):
                if chunk is not None and chunk.size_bytes >= self._chunk_size_bytes:
                    await self._begin_multipart(upload)
                    stores.create_task(self._store(upload, chunk, in_flight))
                    chunk = None
                if chunk is None:
                    await in_flight.acquire()
                    left = self._chunk_size_bytes if most_bytes is None else most_bytes - upload.size_bytes
                    chunk = await self._spool.add(
                        upload.upload_id,
                        upload.size_bytes // self._chunk_size_bytes + 1,
                        most_bytes=max(len(block), min(self._chunk_size_bytes, left)),
                    )
                await self._append(upload, chunk, block)
            if chunk is not None and upload.s3_upload_id is not None:
                stores.create_task(self._store(upload, chunk, in_flight))
            else:
                upload.small = chunk

    async def _create(self, upload: Receiving, most_bytes: int | None) -> None:
        tenant = upload.tenant
        limit = tenant.max_file_size_bytes
        if tenant.storage_quota_bytes == 0:
            raise StorageNotIncluded(tier=tenant.tier)
        if most_bytes is not None and most_bytes - _TRAILING_FIELDS_BYTES > limit:
            raise _too_large(tenant)
        reserve = min(limit, most_bytes) if most_bytes is not None else 0
        created = UploadCreatedV1(
            account_id=tenant.account_id,
            upload_id=upload.upload_id,
            kind="form",
            filename=upload.filename,
            reserved_bytes=reserve,
        )
        room = await self._repository.create_upload(
            self._pool,
            NewUpload(
                upload_id=upload.upload_id,
                account_id=tenant.account_id,
                kind="form",
                status="receiving",
                filename=upload.filename,
                content_type=upload.content_type,
                s3_bucket=self._storage.bucket,
                s3_key=upload.s3_key,
                size_bytes=None,
                chunk_size_bytes=self._chunk_size_bytes,
                content_hash=None,
                cache_key=None,
                pipeline_id=None,
                asset_expires_at=None,
                correlation_id=telemetry.correlation_id.get() or "",
                reserve_bytes=reserve,
                expires_at=self._lease_end(),
            ),
            outbox.rows(created, source=SOURCE),
        )
        if not room["granted"]:
            raise quota_exceeded(room, reserve)
        upload.reserved_bytes = reserve

    async def _append(self, upload: Receiving, chunk: SpooledChunk, block: bytearray) -> None:
        size = upload.size_bytes + len(block)
        if size > upload.tenant.max_file_size_bytes:
            raise _too_large(upload.tenant)
        if size > upload.reserved_bytes:
            await self._grow(upload, size)
        if len(block) <= _INLINE_BYTES and chunk.keeps_in_memory(block):
            _take_in(upload.sha256, chunk, block)
        else:
            await asyncio.to_thread(_take_in, upload.sha256, chunk, block)
        upload.size_bytes = size
        if time.monotonic() - upload.lease_renewed_at > self._lease_seconds / 3:
            await self._renew_lease(upload)

    async def _grow(self, upload: Receiving, size: int) -> None:
        """Reserve the next step: a chunk's worth where there is room, else just what has arrived."""
        missing = size - upload.reserved_bytes
        step = min(
            max(missing, self._chunk_size_bytes), upload.tenant.max_file_size_bytes - upload.reserved_bytes
        )
        room = None
        for more_bytes in dict.fromkeys((step, missing)):
            room = await self._repository.grow_reservation(
                self._pool,
                account_id=upload.tenant.account_id,
                upload_id=upload.upload_id,
                more_bytes=more_bytes,
                expires_at=self._lease_end(),
            )
            if room["granted"]:
                upload.reserved_bytes += more_bytes
                return
        assert room is not None  # noqa: S101 - the loop runs at least once
        raise quota_exceeded(room, missing)

    async def _renew_lease(self, upload: Receiving) -> None:
        upload.lease_renewed_at = time.monotonic()
        if not await self._repository.extend_lease(
            self._pool, upload_id=upload.upload_id, expires_at=self._lease_end()
        ):
            raise UploadNotOpen

    def _lease_end(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self._lease_seconds)

    async def _begin_multipart(self, upload: Receiving) -> None:
        if upload.s3_upload_id is None:
            upload.s3_upload_id = await self._multipart.begin(
                upload.upload_id, s3_key=upload.s3_key, content_type=upload.content_type
            )

    async def _store(self, upload: Receiving, chunk: SpooledChunk, in_flight: asyncio.Semaphore) -> None:
        assert upload.s3_upload_id is not None  # noqa: S101 - begun before the first chunk is stored
        storing = asyncio.create_task(
            self._dispatcher.store(
                chunk,
                account_id=upload.tenant.account_id,
                upload_id=upload.upload_id,
                s3_bucket=self._storage.bucket,
                s3_key=upload.s3_key,
                s3_upload_id=upload.s3_upload_id,
            )
        )
        upload.storing.add(storing)
        storing.add_done_callback(upload.storing.discard)
        # Where the upload fails meanwhile, its end waits for this task.
        upload.parts.append(await asyncio.shield(storing))
        self._spool.drop(upload.upload_id, chunk.number)
        in_flight.release()

    async def _finish(self, upload: Receiving, options: UploadOptions) -> Result:
        received = Received(
            upload_id=upload.upload_id,
            account_id=upload.tenant.account_id,
            filename=upload.filename,
            content_type=upload.content_type,
            s3_key=upload.s3_key,
            s3_upload_id=upload.s3_upload_id,
            size_bytes=upload.size_bytes,
            content_hash=upload.sha256.hexdigest(),
            chunk_count=max(1, len(upload.parts)),
            duration_seconds=time.monotonic() - upload.started_at,
            uploaded_via="api",
        )
        if options.content_hash not in (None, received.content_hash):
            raise ContentHashMismatch(received_hash=received.content_hash)
        existing = await self._closer.existing(received)
        if existing is not None:
            self._spool.drop_all(upload.upload_id)
            return await self._closer.complete_duplicate(received, options, existing)
        if upload.s3_upload_id is not None:
            await self._storage.complete_multipart(upload.s3_key, upload.s3_upload_id, upload.parts)
        else:
            await self._put_small(upload)
        return await self._closer.complete(received, options)

    async def _put_small(self, upload: Receiving) -> None:
        if upload.small is None:
            await self._storage.put(upload.s3_key, b"", content_type=upload.content_type)
            return
        await self._storage.put_streamed(
            upload.s3_key,
            upload.small.blocks,
            size_bytes=upload.small.size_bytes,
            md5=upload.small.md5,
            content_type=upload.content_type,
        )
        self._spool.drop(upload.upload_id, upload.small.number)

    async def _abort_surely(self, upload: Receiving, failure: BaseException) -> None:
        """Abort to the end even while this task is being cancelled."""
        self._spool.drop_all(upload.upload_id)
        code = failure.code if isinstance(failure, JettyThunderError) else ShuttingDown.code
        if not isinstance(failure, JettyThunderError | asyncio.CancelledError):
            code = JettyThunderError.code
        task = asyncio.create_task(self._abort_quietly(upload, code))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        await asyncio.shield(task)

    async def _abort_quietly(self, upload: Receiving, code: str) -> None:
        # A part that arrives while its upload is aborted may stay in the object storage for ever
        # (https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html). The chunks are
        # dropped already, so workers that still read one fail at once.
        if upload.storing:
            _, late = await asyncio.wait(upload.storing, timeout=_LAST_PARTS_SECONDS)
            for storing in late:
                storing.cancel()
        # What can't be closed now, for the database or the storage is away, is left to housekeeping.
        with suppress(JettyThunderError, asyncpg.PostgresError, *CONNECTION_ERRORS):
            await self._closer.abort(upload.upload_id, code=code)


async def _in_blocks(
    first: memoryview | None, pieces: AsyncIterator[memoryview], chunk_size_bytes: int
) -> AsyncIterator[bytearray]:
    """The same bytes in blocks worth a thread's while, none across the border of a chunk."""
    position = 0
    block = bytearray()
    while first is not None:
        piece = first
        while piece:
            room = min(BLOCK_BYTES, chunk_size_bytes - position % chunk_size_bytes) - len(block)
            block += piece[:room]
            piece = piece[room:]
            if len(block) >= BLOCK_BYTES or (position + len(block)) % chunk_size_bytes == 0:
                yield block
                position += len(block)
                block = bytearray()
        first = await anext(pieces, None)
    if block:
        yield block


def _take_in(sha256: Any, chunk: SpooledChunk, block: bytearray) -> None:
    sha256.update(block)
    chunk.append(block)


def _too_large(tenant: Tenant) -> FileTooLarge:
    megabytes = tenant.max_file_size_bytes // MEGABYTE
    return FileTooLarge(
        f"The file is larger than the {megabytes} MB the {tenant.tier} tier allows.",
        max_file_size_bytes=tenant.max_file_size_bytes,
        tier=tenant.tier,
    )


def _single(error: BaseException) -> BaseException:
    """What went wrong first, out of the group a TaskGroup raises."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, ObjectMissing):
        return UploadNotOpen()
    if isinstance(error, CONNECTION_ERRORS) and not isinstance(error, JettyThunderError):
        return DatabaseUnavailable()
    return error
