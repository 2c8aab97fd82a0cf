"""Receiving a form: from bytes on a socket to an object in the object storage.

Guarantees given here: storage is reserved before the first byte of the file is read; an upload that fails in
any way is closed together with the event that releases its reservation, and leaves nothing in the object
storage; nothing is acknowledged before the object storage has it.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from jettythunder import telemetry
from jettythunder.errors import JettyThunderError, UploadNotOpen
from jettythunder.storage import ObjectMissing, PartsMissing, Storage, StoredPart
from storage_gateway.access.model import Tenant
from storage_gateway.assets import names
from storage_gateway.errors import ContentHashMismatch, MissingFile, MultipleFiles, ShuttingDown
from storage_gateway.uploads import model
from storage_gateway.uploads.dispatch import ChunkDispatcher
from storage_gateway.uploads.finish import Finisher
from storage_gateway.uploads.form import Form, Part
from storage_gateway.uploads.lease import Leases
from storage_gateway.uploads.model import Kind, Received, Result, UploadOptions
from storage_gateway.uploads.multipart import Multipart
from storage_gateway.uploads.open import Opener, quota_exceeded
from storage_gateway.uploads.spool import BLOCK_BYTES, Spool, SpooledChunk
from storage_gateway.uploads.store import UploadStore

if TYPE_CHECKING:
    from hashlib import _Hash

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
    started_at: float
    reserved_bytes: int = 0
    size_bytes: int = 0
    sha256: "_Hash" = field(default_factory=hashlib.sha256)
    s3_upload_id: str | None = None
    parts: list[StoredPart] = field(default_factory=list)
    storing: set[asyncio.Task[StoredPart]] = field(default_factory=set)
    small: SpooledChunk | None = None


class FormUploads:
    """Receives forms and stores their files."""

    def __init__(
        self,
        store: UploadStore,
        storage: Storage,
        spool: Spool,
        *,
        opener: Opener,
        finisher: Finisher,
        multipart: Multipart,
        dispatcher: ChunkDispatcher,
        leases: Leases,
        chunk_size_bytes: int,
        chunks_in_flight: int,
    ) -> None:
        self._uploads = store
        self._storage = storage
        self._spool = spool
        self._opener = opener
        self._finisher = finisher
        self._multipart = multipart
        self._dispatcher = dispatcher
        self._leases = leases
        self._chunk_size_bytes = chunk_size_bytes
        self._chunks_in_flight = chunks_in_flight
        self._aborting: set[asyncio.Task[None]] = set()

    async def receive_form(self, tenant: Tenant, form: Form) -> Result:
        """Take a form's file and fields and make them an asset.

        Raises:
            JettyThunderError: of the error table; nothing is stored then and nothing stays reserved.
        """
        upload_id = uuid4()
        with self._leases.held(upload_id):
            return await self._receive(upload_id, tenant, form)

    async def _receive(self, upload_id: UUID, tenant: Tenant, form: Form) -> Result:
        upload: Receiving | None = None
        fields: dict[str, str] = {}
        try:
            async for part in form.parts():
                if part.name != "file" or part.filename is None:
                    fields[part.name] = await part.text()
                    continue
                pieces = part.blocks()
                first = await anext(pieces, None)
                if first is None and not part.filename:
                    # What a browser sends for a file input that was left empty.
                    continue
                if upload is not None:
                    raise MultipleFiles
                upload = _expected(upload_id, tenant, part)
                await self._receive_file(upload, part, first, pieces)
            if upload is None:
                raise MissingFile
            return await self._finish(upload, model.parse_options(fields, now=datetime.now(UTC)))
        except BaseException as error:
            failure = _first_cause(error)
            if upload is not None:
                await self._abort_surely(upload, failure)
            if failure is error:
                raise
            raise failure from error

    async def close(self) -> None:
        """Wait for aborts under way."""
        await asyncio.gather(*self._aborting, return_exceptions=True)

    async def _receive_file(
        self, upload: Receiving, part: Part, first: memoryview | None, pieces: AsyncIterator[memoryview]
    ) -> None:
        """Read the part to its end; when this returns, all its chunks but a small file's are stored."""
        most_bytes = part.most_bytes() if first is not None else 0
        await self._open(upload, most_bytes)
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

    async def _open(self, upload: Receiving, most_bytes: int | None) -> None:
        tenant = upload.tenant
        model.check_size(tenant, None if most_bytes is None else most_bytes - _TRAILING_FIELDS_BYTES)
        reserve = 0 if most_bytes is None else min(tenant.max_file_size_bytes, most_bytes)
        await self._opener.open(
            tenant,
            upload_id=upload.upload_id,
            kind=Kind.FORM,
            filename=upload.filename,
            content_type=upload.content_type,
            s3_key=upload.s3_key,
            size_bytes=None,
            reserve_bytes=reserve,
            chunk_size_bytes=self._chunk_size_bytes,
            options=UploadOptions(),
            open_seconds=self._leases.lease_seconds,
        )
        upload.reserved_bytes = reserve

    async def _append(self, upload: Receiving, chunk: SpooledChunk, block: bytearray) -> None:
        size = upload.size_bytes + len(block)
        model.check_size(upload.tenant, size)
        self._leases.check(upload.upload_id)
        if size > upload.reserved_bytes:
            await self._grow(upload, size)
        if len(block) <= _INLINE_BYTES and chunk.keeps_in_memory(block):
            _take_in(upload.sha256, chunk, block)
        else:
            await asyncio.to_thread(_take_in, upload.sha256, chunk, block)
        upload.size_bytes = size

    async def _grow(self, upload: Receiving, size: int) -> None:
        """Reserve the next step: a chunk's worth where there is room, else just what has arrived."""
        missing = size - upload.reserved_bytes
        step = min(
            max(missing, self._chunk_size_bytes), upload.tenant.max_file_size_bytes - upload.reserved_bytes
        )
        room = None
        for more_bytes in dict.fromkeys((step, missing)):
            room = await self._uploads.grow_reservation(
                account_id=upload.tenant.account_id,
                upload_id=upload.upload_id,
                more_bytes=more_bytes,
                open_seconds=self._leases.lease_seconds,
            )
            if room.granted:
                upload.reserved_bytes += more_bytes
                return
        assert room is not None  # noqa: S101 - the loop has run
        raise quota_exceeded(room, missing)

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
            s3_bucket=self._storage.bucket,
            s3_key=upload.s3_key,
            s3_upload_id=upload.s3_upload_id,
            size_bytes=upload.size_bytes,
            content_hash=upload.sha256.hexdigest(),
            hash_verified=True,
            chunk_count=max(1, len(upload.parts)),
            duration_seconds=time.monotonic() - upload.started_at,
            uploaded_via="api",
        )
        if options.content_hash not in (None, received.content_hash):
            raise ContentHashMismatch(received_hash=received.content_hash)
        result = await self._finisher.complete(received, options, lambda: self._make_object(upload))
        self._spool.drop_all(upload.upload_id)
        return result

    async def _make_object(self, upload: Receiving) -> None:
        if upload.s3_upload_id is None:
            await self._put_small(upload)
            return
        try:
            await self._storage.complete_multipart(upload.s3_key, upload.s3_upload_id, upload.parts)
        except (ObjectMissing, PartsMissing) as error:
            raise UploadNotOpen from error

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

    async def _abort_surely(self, upload: Receiving, failure: BaseException) -> None:
        """Abort to the end even while this task is being cancelled."""
        self._spool.drop_all(upload.upload_id)
        code = failure.code if isinstance(failure, JettyThunderError) else ShuttingDown.code
        if not isinstance(failure, JettyThunderError | asyncio.CancelledError):
            code = JettyThunderError.code
        task = asyncio.create_task(self._abort_quietly(upload, code))
        self._aborting.add(task)
        task.add_done_callback(self._aborting.discard)
        await asyncio.shield(task)

    async def _abort_quietly(self, upload: Receiving, code: str) -> None:
        # A part that arrives while its upload is aborted may stay in the object storage for ever
        # (https://docs.aws.amazon.com/AmazonS3/latest/API/API_AbortMultipartUpload.html). The chunks are
        # dropped already, so workers that still read one fail at once.
        if upload.storing:
            _, late = await asyncio.wait(upload.storing, timeout=_LAST_PARTS_SECONDS)
            for storing in late:
                storing.cancel()
        # What can't be closed now expires, and housekeeping closes it.
        with suppress(JettyThunderError):
            await self._finisher.abort(upload.upload_id, code=code)


def _expected(upload_id: UUID, tenant: Tenant, part: Part) -> Receiving:
    filename = names.safe_filename(part.filename)
    return Receiving(
        upload_id=upload_id,
        tenant=tenant,
        filename=filename,
        content_type=names.content_type_of(part.content_type, filename),
        s3_key=names.object_key(tenant.s3_prefix, upload_id, filename),
        started_at=time.monotonic(),
    )


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


def _take_in(sha256: "_Hash", chunk: SpooledChunk, block: bytearray) -> None:
    sha256.update(block)
    chunk.append(block)


def _first_cause(error: BaseException) -> BaseException:
    """What went wrong first, out of the group a TaskGroup raises."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
