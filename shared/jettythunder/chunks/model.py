"""Rules of chunks: what an upload takes, and what is stored already."""

from dataclasses import dataclass
from uuid import UUID

from jettythunder.checksums import Checksum
from jettythunder.errors import LinkInvalid, LinkRevoked, UploadNotOpen


@dataclass(frozen=True)
class Chunk:
    """A chunk to store, and the part of a multipart upload that it becomes.

    ``epoch`` is the account's when its token was minted, None for a chunk that a gateway holds.
    """

    upload_id: UUID
    account_id: UUID
    number: int
    size_bytes: int
    checksum: Checksum
    s3_bucket: str
    s3_key: str
    s3_upload_id: str
    epoch: int | None = None


@dataclass(frozen=True)
class RecordedChunk:
    """A chunk that the object storage acknowledged."""

    number: int
    size_bytes: int
    checksum: Checksum
    etag: str
    edge: str


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An upload, as far as one of its chunks depends on it.

    Attributes:
        takes_chunks: whether it is open, and its chunks are not being joined.
        keeps_chunks: whether its chunks are of use: it is open or completed.
        epoch: the account's, now.
        s3_upload_id: the multipart upload, None where there is none any more.
        recorded: what is recorded of the chunk.
    """

    takes_chunks: bool
    keeps_chunks: bool
    epoch: int
    s3_key: str
    s3_upload_id: str | None
    recorded: RecordedChunk | None


def stored_already(upload: Upload, chunk: Chunk) -> RecordedChunk | None:
    """The record that answers a chunk sent again, where its bytes are the same and still of use.

    Raises:
        LinkInvalid: the chunk is meant for another object or multipart upload than the upload's.
        LinkRevoked: the account's tokens were revoked since the chunk's was made.
        UploadNotOpen: the bytes are new, and the upload takes no more.
    """
    if chunk.epoch not in (None, upload.epoch):
        raise LinkRevoked
    if chunk.s3_key != upload.s3_key or upload.s3_upload_id not in (None, chunk.s3_upload_id):
        raise LinkInvalid(
            "The upload has another object key or multipart upload than the chunk is meant for."
        )
    recorded = upload.recorded
    if recorded is not None and recorded.checksum == chunk.checksum and upload.keeps_chunks:
        return recorded
    if not upload.takes_chunks or upload.s3_upload_id is None:
        raise UploadNotOpen
    return None
