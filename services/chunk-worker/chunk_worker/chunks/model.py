"""Rules of chunks: what an upload takes, what is stored already, and where a chunk may be fetched from."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from jettythunder.errors import LinkInvalid, UploadNotOpen


@dataclass(frozen=True)
class Chunk:
    """A chunk to store, and the part of a multipart upload that it becomes. ``md5`` is hexadecimal."""

    upload_id: UUID
    account_id: UUID
    number: int
    size_bytes: int
    md5: str
    s3_bucket: str
    s3_key: str
    s3_upload_id: str


@dataclass(frozen=True)
class RecordedChunk:
    """A chunk that the object storage acknowledged."""

    number: int
    size_bytes: int
    md5: str
    etag: str
    edge: str


@dataclass(frozen=True, kw_only=True)
class Upload:
    """An upload, as far as one of its chunks depends on it.

    Attributes:
        takes_chunks: whether it is open, and its chunks are not being joined.
        keeps_chunks: whether its chunks are of use: it is open or completed.
        s3_upload_id: the multipart upload, None where there is none any more.
        recorded: what is recorded of the chunk.
    """

    takes_chunks: bool
    keeps_chunks: bool
    s3_key: str
    s3_upload_id: str | None
    recorded: RecordedChunk | None


def stored_already(upload: Upload, chunk: Chunk) -> RecordedChunk | None:
    """The record that answers a chunk sent again, where its bytes are the same and still of use.

    Raises:
        LinkInvalid: the chunk is meant for another object or multipart upload than the upload's.
        UploadNotOpen: the bytes are new, and the upload takes no more.
    """
    if chunk.s3_key != upload.s3_key or upload.s3_upload_id not in (None, chunk.s3_upload_id):
        raise LinkInvalid(
            "The upload has another object key or multipart upload than the chunk is meant for."
        )
    recorded = upload.recorded
    if recorded is not None and recorded.md5 == chunk.md5 and upload.keeps_chunks:
        return recorded
    if not upload.takes_chunks or upload.s3_upload_id is None:
        raise UploadNotOpen
    return None


def check_source(url: str, *, upload_id: UUID, number: int, prefixes: Sequence[str]) -> None:
    """Make sure that a command sends the worker to a gateway's spool and nowhere else.

    The path is the very chunk's, signed and expiring; with ``prefixes`` the address is one of them, too.

    Raises:
        LinkInvalid: it is something else.
    """
    if not _is_of_gateway(url, f"/internal/chunks/{upload_id}/{number}", prefixes):
        raise LinkInvalid("The chunk's address is not a gateway's.")


def _is_of_gateway(url: str, path: str, prefixes: Sequence[str]) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    query = parse_qs(parts.query)
    return (
        parts.scheme in ("http", "https")
        and parts.path == path
        and all(len(query.get(name, ())) == 1 for name in ("expires_at", "signature"))
        and (not prefixes or url.startswith(tuple(prefixes)))
    )
