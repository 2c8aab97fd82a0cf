"""Uploads, an object storage and gateways in memory: what the use-cases run on in unit tests."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from jettythunder.checksums import Algorithm, Checksum, checksum_of
from jettythunder.chunks.model import Chunk, RecordedChunk, Upload
from jettythunder.contracts.uploads import ChunkFailedV1, ChunkUploadedV1
from jettythunder.errors import ChecksumMismatch, ChunkGone, StorageUnavailable, TruncatedBody
from jettythunder.storage import ObjectMissing, StoredPart

BUCKET = "bucket"
UPLOAD_ID = UUID(int=1)
ACCOUNT_ID = UUID(int=2)
EPOCH = 7
OPEN_UPLOAD = Upload(
    takes_chunks=True,
    keeps_chunks=True,
    epoch=EPOCH,
    s3_key="accounts/a/key",
    s3_upload_id="multipart",
    recorded=None,
)


def md5_of(data: bytes) -> Checksum:
    return checksum_of(data, Algorithm.MD5)


def made_chunk(data: bytes, *, number: int = 1) -> Chunk:
    """A chunk of the upload that :class:`FakeChunks` begins with."""
    return Chunk(
        upload_id=UPLOAD_ID,
        account_id=ACCOUNT_ID,
        number=number,
        size_bytes=len(data),
        checksum=md5_of(data),
        s3_bucket=BUCKET,
        s3_key=OPEN_UPLOAD.s3_key,
        s3_upload_id="multipart",
    )


async def blocks_of(data: bytes, *, size_bytes: int = 3) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size_bytes):
        yield data[start : start + size_bytes]


@dataclass
class FakeChunks:
    """One open upload, and the records of its chunks."""

    upload_row: Upload = OPEN_UPLOAD
    recorded: dict[int, RecordedChunk] = field(default_factory=dict)
    events: list[ChunkUploadedV1 | ChunkFailedV1] = field(default_factory=list)

    async def upload(self, upload_id: UUID, *, account_id: UUID, number: int) -> Upload | None:
        if (upload_id, account_id) != (UPLOAD_ID, ACCOUNT_ID):
            return None
        return replace(self.upload_row, recorded=self.recorded.get(number))

    async def record(self, event: ChunkUploadedV1, *, epoch: int | None) -> bool:
        if not self.upload_row.takes_chunks or epoch not in (None, self.upload_row.epoch):
            return False
        self.recorded[event.number] = RecordedChunk(
            event.number, event.size_bytes, Checksum.parse(event.md5), event.etag, event.edge
        )
        self.events.append(event)
        return True

    async def publish_failure(self, event: ChunkFailedV1) -> None:
        self.events.append(event)

    def revoke(self) -> None:
        """Let provisioning raise the account's epoch."""
        self.upload_row = replace(self.upload_row, epoch=self.upload_row.epoch + 1)

    def close(self) -> None:
        """Let somebody join the upload's chunks."""
        self.upload_row = replace(self.upload_row, takes_chunks=False)


@dataclass
class FakeStorage:
    """Parts and objects by their names. ``before_answer`` runs when a part's bytes have arrived."""

    bucket: str = BUCKET
    parts: dict[int, bytes] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    is_aborted: bool = False
    is_down: bool = False
    before_answer: Callable[[], None] = lambda: None
    cut_bytes: int = 0

    async def upload_part(
        self,
        key: str,
        upload_id: str,
        number: int,
        body: Callable[[], AsyncIterator[bytes]],
        *,
        size_bytes: int,
        checksum: Checksum,
        attempts: int,
    ) -> StoredPart:
        data = b"".join([block async for block in body()])
        if self.is_down:
            raise StorageUnavailable
        if self.is_aborted:
            raise ObjectMissing(key)
        if len(data) != size_bytes:
            raise TruncatedBody
        if checksum_of(data, checksum.algorithm) != checksum:
            raise ChecksumMismatch
        self.parts[number] = data
        self.before_answer()
        return StoredPart(number, f'"{md5_of(data)}"')

    async def size_of(self, key: str) -> int:
        if key not in self.objects:
            raise ObjectMissing(key)
        return len(self.objects[key])

    @contextlib.asynccontextmanager
    async def read(self, key: str, *, start: int, end: int) -> AsyncIterator[AsyncIterator[bytes]]:
        data = self.objects[key][start : end + 1]
        yield blocks_of(data[: len(data) - self.cut_bytes], size_bytes=1 << 20)


@dataclass
class FakeSpools:
    """Gateways' chunks by their address."""

    chunks: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def fetch(self, url: str, *, size_bytes: int) -> AsyncIterator[AsyncIterator[bytes]]:
        if url not in self.chunks:
            raise ChunkGone
        self.fetched.append(url)
        yield blocks_of(self.chunks[url])
