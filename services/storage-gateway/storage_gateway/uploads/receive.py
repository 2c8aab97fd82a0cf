"""Receiving a form: from bytes on a socket to an object in the object storage.

Guarantees given here: storage is reserved before the first byte of the file is read; a gateway without room
refuses an upload at its first byte, and never later; an upload that fails in any way is closed together with
the event that releases its reservation, and leaves nothing in the object storage; nothing is acknowledged
before the object storage has it.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

from jettythunder import telemetry
from jettythunder.checksums import Algorithm
from jettythunder.drain import UnderWay
from jettythunder.errors import JettyThunderError, ShuttingDown, UploadNotOpen, UploadTimedOut
from jettythunder.ids import new_id
from jettythunder.slots import Slots
from jettythunder.storage import ObjectMissing, PartsMissing, Storage, StoredPart
from jettythunder.storage.probing import Probe
from storage_gateway.access.model import Tenant
from storage_gateway.assets import names
from storage_gateway.errors import (
    ContentHashMismatch,
    MissingFile,
    MultipleFiles,
    TooManyUploads,
)
from storage_gateway.uploads import model
from storage_gateway.uploads.dispatch import ChunkDispatcher
from storage_gateway.uploads.finish import Finisher
from storage_gateway.uploads.form import Form, Part
from storage_gateway.uploads.lease import Leases
from storage_gateway.uploads.model import ChunkSizes, Kind, Received, Result, UploadOptions
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
_RETRY_AFTER_SECONDS = 2

# Hashing this little takes less time than handing it to a thread.
_INLINE_BYTES = 64 * 1024

# A block that a slow client fills is written as it is after this time, so that it does not stay in memory.
_OLD_SECONDS = 1.0


@dataclass
class Receiving:
    """An upload whose bytes are arriving."""

    upload_id: UUID
    tenant: Tenant
    filename: str
    content_type: str
    s3_key: str
    algorithm: Algorithm
    started_at: float
    reserved_bytes: int = 0
    size_bytes: int = 0
    sha256: "_Hash" = field(default_factory=hashlib.sha256)
    s3_upload_id: str | None = None
    chunk_bytes: int = 0
    block: list[memoryview] = field(default_factory=list)
    block_bytes: int = 0
    block_began_at: float = 0.0
    writing: asyncio.Task[None] | None = None
    parts: list[StoredPart] = field(default_factory=list)
    storing: set[asyncio.Task[StoredPart]] = field(default_factory=set)
    small: SpooledChunk | None = None

    @property
    def is_stored_at_once(self) -> bool:
        """Whether chunks are stored about as fast as they arrive, as far as can be told by now."""
        return bool(self.parts) and len(self.storing) <= model.FEW_IN_FLIGHT


@dataclass
class _Upload:
    """An upload from the beginning of its form; ``receiving`` once its file has begun."""

    id: UUID
    tenant: Tenant
    algorithm: Algorithm
    lease: ExitStack
    receiving: Receiving | None = None


@dataclass(frozen=True)
class ReceiveLimits:
    """What uploads may take of a gateway.

    Args:
        admission_seconds: the longest wait of a new upload for room in the spool.
        upload_seconds: the longest that receiving an upload may take.
    """

    admission_seconds: float
    upload_seconds: float


class FormUploads:
    """Receives forms and stores their files.

    Args:
        slots: how many uploads each account may have under way.
    """

    def __init__(
        self,
        store: UploadStore,
        storage: Storage,
        spool: Spool,
        *,
        probe: Probe,
        opener: Opener,
        finisher: Finisher,
        multipart: Multipart,
        dispatcher: ChunkDispatcher,
        leases: Leases,
        slots: Slots,
        limits: ReceiveLimits,
        chunk_sizes: ChunkSizes,
        chunks_in_flight: int,
    ) -> None:
        self._uploads = store
        self._storage = storage
        self._spool = spool
        self._probe = probe
        self._opener = opener
        self._finisher = finisher
        self._multipart = multipart
        self._dispatcher = dispatcher
        self._leases = leases
        self._slots = slots
        self._limits = limits
        self._chunk_sizes = chunk_sizes
        self._chunks_in_flight = chunks_in_flight
        self._aborting: set[asyncio.Task[None]] = set()
        self._under_way = UnderWay()

    async def receive_form(self, tenant: Tenant, form: Form) -> Result:
        """Take a form's file and fields and make them an asset.

        Raises:
            JettyThunderError: of the error table; nothing is stored then and nothing stays reserved.
        """
        with self._under_way.begun():
            upload_id = new_id()
            if not self._slots.take(tenant.account_id):
                raise TooManyUploads(retry_after_seconds=_RETRY_AFTER_SECONDS)
            try:
                with ExitStack() as lease:
                    return await self._receive(upload_id, tenant, form, lease)
            finally:
                self._slots.give_back(tenant.account_id)

    async def drain(self) -> None:
        """Take no more forms, and wait for those under way; where this is cancelled, they fail."""
        await self._under_way.drain()

    async def _receive(self, upload_id: UUID, tenant: Tenant, form: Form, lease: ExitStack) -> Result:
        upload = _Upload(upload_id, tenant, self._probe.capabilities.algorithm, lease)
        try:
            async with asyncio.timeout(self._limits.upload_seconds) as limit:
                fields = await self._receive_parts(upload, form)
            if upload.receiving is None:
                raise MissingFile
            return await self._finish(upload.receiving, model.parse_options(fields, now=datetime.now(UTC)))
        except BaseException as error:
            failure = _first_cause(error)
            if isinstance(failure, TimeoutError) and limit.expired():
                failure = UploadTimedOut(
                    f"The file did not arrive within {self._limits.upload_seconds:g} seconds. Nothing was"
                    " stored; send it again over a faster connection."
                )
            self._spool.drop_all(upload_id)
            if upload.receiving is not None:
                await self._abort_surely(upload.receiving, failure)
            if failure is error:
                raise
            raise failure from error

    async def _receive_parts(self, upload: "_Upload", form: Form) -> dict[str, str]:
        """Read the form to its end: store its file's chunks, and give its fields."""
        fields: dict[str, str] = {}
        async for part in form.parts():
            if part.name != "file" or part.filename is None:
                fields[part.name] = await part.text()
                continue
            pieces = part.blocks()
            first = await anext(pieces, None)
            if first is None and not part.filename:
                # What a browser sends for a file input that was left empty.
                continue
            if upload.receiving is not None:
                raise MultipleFiles
            chunk = None if first is None else await self._admit(upload, len(first))
            upload.receiving = _expected(upload, part)
            await self._open(upload.receiving, 0 if chunk is None else part.most_bytes())
            # Not before: a renewal takes an upload without a row for one that somebody closed.
            upload.lease.enter_context(self._leases.held(upload.id))
            all_pieces = _all_pieces(first, pieces)
            # It would stay in memory for as long as the file takes to arrive.
            del first
            await self._receive_file(upload.receiving, part, chunk, all_pieces)
        return fields

    async def _admit(self, upload: "_Upload", first_bytes: int) -> SpooledChunk:
        """The first chunk, with room for the first bytes.

        Raises:
            GatewayBusy: there is none for so long that the client had better come again.
        """
        chunk = self._spool.add(
            upload.id,
            1,
            account_id=upload.tenant.account_id,
            most_bytes=self._chunk_sizes.least_bytes,
            algorithm=upload.algorithm,
        )
        await self._spool.make_room(
            chunk,
            min(first_bytes, chunk.most_bytes),
            timeout_seconds=self._limits.admission_seconds,
        )
        return chunk

    async def close(self) -> None:
        """Wait for aborts under way."""
        await asyncio.gather(*self._aborting, return_exceptions=True)

    async def _receive_file(
        self, upload: Receiving, part: Part, chunk: SpooledChunk | None, pieces: AsyncIterator[memoryview]
    ) -> None:
        """Read the part to its end; when this returns, all its chunks but a small file's are stored."""
        in_flight = asyncio.Semaphore(self._chunks_in_flight)
        await in_flight.acquire()
        async with asyncio.TaskGroup() as stores:
            async for piece in pieces:
                left = piece
                while left:
                    assert chunk is not None  # noqa: S101 - it was admitted with the first bytes
                    if upload.chunk_bytes == chunk.most_bytes:
                        await self._begin_multipart(upload)
                        await _written(upload)
                        stores.create_task(self._store(upload, chunk, in_flight))
                        await in_flight.acquire()
                        chunk = self._next_chunk(upload, chunk, part.most_bytes())
                        upload.chunk_bytes = 0
                    room = chunk.most_bytes - upload.chunk_bytes
                    await self._append(upload, chunk, left[:room])
                    left = left[room:]
            if chunk is not None:
                await self._write(upload, chunk)
                await _written(upload)
            if chunk is not None and upload.s3_upload_id is not None:
                stores.create_task(self._store(upload, chunk, in_flight))
            else:
                upload.small = chunk

    def _next_chunk(self, upload: Receiving, chunk: SpooledChunk, file_bytes: int | None) -> SpooledChunk:
        return self._spool.add(
            upload.upload_id,
            chunk.number + 1,
            account_id=upload.tenant.account_id,
            most_bytes=self._chunk_sizes.of(
                file_bytes,
                received_bytes=upload.size_bytes,
                seconds=time.monotonic() - upload.started_at,
                keeps_up=upload.is_stored_at_once,
            ),
            algorithm=upload.algorithm,
        )

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
            chunk_size_bytes=self._chunk_sizes.least_bytes,
            options=UploadOptions(),
            open_seconds=self._leases.lease_seconds,
        )
        upload.reserved_bytes = reserve

    async def _append(self, upload: Receiving, chunk: SpooledChunk, piece: memoryview) -> None:
        size = upload.size_bytes + len(piece)
        model.check_size(upload.tenant, size)
        self._leases.check(upload.upload_id)
        if size > upload.reserved_bytes:
            await self._grow(upload, size)
        await self._spool.make_room(chunk, upload.chunk_bytes + len(piece))
        now = asyncio.get_running_loop().time()
        if not upload.block:
            upload.block_began_at = now
        upload.block.append(piece)
        upload.block_bytes += len(piece)
        upload.chunk_bytes += len(piece)
        upload.size_bytes = size
        is_old = now - upload.block_began_at > _OLD_SECONDS
        if upload.block_bytes >= BLOCK_BYTES or upload.chunk_bytes == chunk.most_bytes or is_old:
            await self._write(upload, chunk)

    async def _write(self, upload: Receiving, chunk: SpooledChunk) -> None:
        """Write the block once the one before it is written; a large one while the next arrives."""
        block, size_bytes = upload.block, upload.block_bytes
        upload.block, upload.block_bytes = [], 0
        if not block:
            return
        await _written(upload)
        if size_bytes <= _INLINE_BYTES and chunk.keeps_in_memory(size_bytes):
            _take_in(upload.sha256, chunk, block)
        else:
            upload.writing = asyncio.create_task(_take_in_aside(upload.sha256, chunk, block))

    async def _grow(self, upload: Receiving, size: int) -> None:
        """Reserve the next step: a chunk's worth where there is room, else just what has arrived."""
        missing = size - upload.reserved_bytes
        step = min(
            max(missing, self._chunk_sizes.least_bytes),
            upload.tenant.max_file_size_bytes - upload.reserved_bytes,
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
                upload.upload_id,
                s3_key=upload.s3_key,
                content_type=upload.content_type,
                algorithm=upload.algorithm,
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
            await self._storage.complete_multipart(
                upload.s3_key, upload.s3_upload_id, upload.parts, size_bytes=upload.size_bytes
            )
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
            checksum=upload.small.checksum,
            content_type=upload.content_type,
        )

    async def _abort_surely(self, upload: Receiving, failure: BaseException) -> None:
        """Abort to the end even while this task is being cancelled."""
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


def _expected(upload: "_Upload", part: Part) -> Receiving:
    filename = names.safe_filename(part.filename)
    return Receiving(
        upload_id=upload.id,
        tenant=upload.tenant,
        filename=filename,
        content_type=names.content_type_of(part.content_type, filename),
        s3_key=names.object_key(upload.tenant.s3_prefix, upload.id, filename),
        algorithm=upload.algorithm,
        started_at=time.monotonic(),
    )


async def _all_pieces(first: memoryview | None, rest: AsyncIterator[memoryview]) -> AsyncIterator[memoryview]:
    if first is not None:
        yield first
        del first
    async for piece in rest:
        yield piece


def _take_in(sha256: "_Hash", chunk: SpooledChunk, block: Sequence[memoryview]) -> None:
    for piece in block:
        sha256.update(piece)
    chunk.append(block)


async def _take_in_aside(sha256: "_Hash", chunk: SpooledChunk, block: Sequence[memoryview]) -> None:
    with chunk.in_use():
        await asyncio.to_thread(_take_in, sha256, chunk, block)


async def _written(upload: Receiving) -> None:
    """Wait until the block under way is written. It goes on where this is cancelled, since its thread does.

    Raises:
        SpoolFull: the disk is full.
    """
    if upload.writing is not None:
        await asyncio.wait([upload.writing])
        upload.writing.result()
        upload.writing = None


def _first_cause(error: BaseException) -> BaseException:
    """What went wrong first, out of the group a TaskGroup raises."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
