"""Pure rules of chunks: which upload takes them, when one is stored already, and where one may come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from jettythunder.errors import LinkInvalid, UploadNotOpen

_OPEN = ("created", "receiving")
_FAILED = ("aborted", "expired")


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


@dataclass(frozen=True)
class Progress:
    """An upload's status, and what is recorded of one of its chunks."""

    status: str
    recorded: RecordedChunk | None


def stored_already(progress: Progress, md5: str) -> RecordedChunk | None:
    """The record that answers a chunk sent again, where its bytes are the same and still of use.

    Raises:
        UploadNotOpen: the bytes are new, and the upload takes no more.
    """
    recorded = progress.recorded
    if recorded is not None and recorded.md5 == md5 and progress.status not in _FAILED:
        return recorded
    if progress.status not in _OPEN:
        raise UploadNotOpen
    return None


def check_source(url: str, *, upload_id: UUID, number: int, prefixes: Sequence[str]) -> None:
    """Make sure that a command sends the worker to a gateway's spool and nowhere else.

    The path is the very chunk's, signed and expiring; with ``prefixes`` the address is one of them, too.

    Raises:
        LinkInvalid: it is something else.
    """
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    wanted = (
        parts.scheme in ("http", "https")
        and parts.path == f"/internal/chunks/{upload_id}/{number}"
        and all(len(query.get(name, ())) == 1 for name in ("expires_at", "signature"))
        and (not prefixes or url.startswith(tuple(prefixes)))
    )
    if not wanted:
        raise LinkInvalid("The chunk's address is not a gateway's.")
