"""Chunks that Workers store: they have no database and no key of the object storage, and ask here.

A Worker asks before it reads a chunk, and gets a URL that takes these very bytes as this one part; and it
says when the object storage has them, or that it gave up.
"""

import time
from typing import Protocol
from uuid import UUID

from jettythunder import edge_tokens
from jettythunder.checksums import Checksum
from jettythunder.chunks.attempts import Attempts
from jettythunder.chunks.model import Chunk, RecordedChunk, Upload, stored_already
from jettythunder.contracts.uploads import ChunkUploadedV1
from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import EdgeBusy, LinkInvalid, TooManyAttempts, UploadNotFound, UploadNotOpen
from jettythunder.signatures import VerifyingKeys

# From the answer to the Worker's request to the object storage; the body may take longer.
_URL_SECONDS = 60
# How long after its token's expiry a Worker still takes a chunk.
_ARRIVING_SECONDS = 60
# A token that expires while its chunk is on the way still has it recorded.
_LATE_SECONDS = 180
_BUSY_SECONDS = 1


class Chunks(Protocol):
    """What is recorded of uploads and their chunks."""

    async def upload(self, upload_id: UUID, *, account_id: UUID, number: int) -> Upload | None: ...

    async def record(self, event: ChunkUploadedV1, *, epoch: int | None) -> bool: ...


class UnderWay(Protocol):
    """The chunks on the way over Workers."""

    async def begin(self, account_id: UUID, upload_id: UUID, number: int, *, seconds: float) -> bool: ...

    async def end(self, account_id: UUID, upload_id: UUID, number: int) -> None: ...


class Parts(Protocol):
    """The object storage, as far as it signs URLs."""

    bucket: str

    def presign_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        *,
        size_bytes: int,
        seconds: int,
        checksum: Checksum | None,
    ) -> str: ...


class EdgeChunks:
    """Lets Workers store chunks by the rules of edges with a database.

    Args:
        keys: what tokens are checked with.
    """

    def __init__(
        self, chunks: Chunks, parts: Parts, keys: VerifyingKeys, attempts: Attempts, under_way: UnderWay
    ) -> None:
        self._chunks = chunks
        self._parts = parts
        self._keys = keys
        self._attempts = attempts
        self._under_way = under_way

    async def begin(self, token: str, checksum: Checksum) -> RecordedChunk | str:
        """The URL that takes a chunk; or what is recorded of it, where its bytes are stored already.

        Raises:
            LinkInvalid, LinkExpired, LinkRevoked: the token does not allow a chunk, or not any more.
            UploadNotFound, UploadNotOpen: as their names say.
            EdgeBusy: the account has as many chunks on the way over Workers as it may have.
            TooManyAttempts: the chunk was sent as often as it may be.
        """
        allowed = edge_tokens.read(self._keys, token)
        chunk = _chunk(allowed, checksum)
        upload = await self._chunks.upload(chunk.upload_id, account_id=chunk.account_id, number=chunk.number)
        if upload is None:
            raise UploadNotFound
        if (recorded := stored_already(upload, chunk)) is not None:
            return recorded
        if chunk.s3_bucket != self._parts.bucket:
            raise LinkInvalid("The token is for a bucket that this gateway does not use.")
        seconds = allowed.expires_at - time.time() + _ARRIVING_SECONDS
        if not await self._under_way.begin(chunk.account_id, chunk.upload_id, chunk.number, seconds=seconds):
            raise EdgeBusy(retry_after_seconds=_BUSY_SECONDS)
        try:
            self._attempts.count(chunk.upload_id, chunk.number)
        except TooManyAttempts:
            await self._under_way.end(chunk.account_id, chunk.upload_id, chunk.number)
            raise
        return self._parts.presign_part(
            chunk.s3_key,
            chunk.s3_upload_id,
            chunk.number,
            size_bytes=chunk.size_bytes,
            seconds=_URL_SECONDS,
            checksum=checksum,
        )

    async def stored(self, token: str, checksum: Checksum, *, etag: str, edge: str) -> RecordedChunk:
        """Record a chunk that the object storage acknowledged; safe to repeat.

        Raises:
            LinkInvalid, LinkExpired: the token is none, or expired long ago.
            UploadNotOpen: the upload takes no more chunks, or the token was revoked.
        """
        chunk = _chunk(edge_tokens.read(self._keys, token, late_seconds=_LATE_SECONDS), checksum)
        event = ChunkUploadedV1(
            account_id=chunk.account_id,
            upload_id=chunk.upload_id,
            number=chunk.number,
            size_bytes=chunk.size_bytes,
            md5=str(checksum),
            etag=etag,
            edge=edge,
        )
        recorded = await self._chunks.record(event, epoch=chunk.epoch)
        await self._under_way.end(chunk.account_id, chunk.upload_id, chunk.number)
        if not recorded:
            raise UploadNotOpen
        return RecordedChunk(chunk.number, chunk.size_bytes, checksum, etag, edge)

    async def failed(self, token: str) -> None:
        """Make room for another chunk of the account, as this one was not stored; safe to repeat.

        Raises:
            LinkInvalid, LinkExpired: the token is none, or expired long ago.
        """
        given = edge_tokens.read(self._keys, token, late_seconds=_LATE_SECONDS)
        await self._under_way.end(given.account_id, given.upload_id, given.number)


def _chunk(token: EdgeToken, checksum: Checksum) -> Chunk:
    return Chunk(
        upload_id=token.upload_id,
        account_id=token.account_id,
        number=token.number,
        size_bytes=token.size_bytes,
        checksum=checksum,
        s3_bucket=token.s3_bucket,
        s3_key=token.s3_key,
        s3_upload_id=token.s3_upload_id,
        epoch=token.epoch,
    )
