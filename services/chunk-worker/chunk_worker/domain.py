"""Pure rules of chunks: what an upload takes, what is stored already, where one may come from, what fits."""

import base64
import binascii
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import BadRequest, EdgeBusy, InvalidField, LinkInvalid, UploadNotOpen

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
    if not _is_gateway_s(url, f"/internal/chunks/{upload_id}/{number}", prefixes):
        raise LinkInvalid("The chunk's address is not a gateway's.")


def _is_gateway_s(url: str, path: str, prefixes: Sequence[str]) -> bool:
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


def check_token(token: EdgeToken, *, upload_id: UUID, number: int, length_bytes: int | None) -> None:
    """Make sure that a token is for this very chunk. A body of unannounced length is measured later.

    Raises:
        LinkInvalid: it is for another upload, number or size.
    """
    if (token.upload_id, token.number) != (upload_id, number):
        raise LinkInvalid("The token is for another chunk.")
    if length_bytes not in (None, token.size_bytes):
        raise LinkInvalid(f"The token is for {token.size_bytes} bytes, and {length_bytes} are announced.")


def parse_content_md5(header: str | None) -> str:
    """The MD5 of a Content-MD5 header (RFC 1864, base64), hexadecimal.

    Raises:
        BadRequest: there is no such header.
        InvalidField: it holds something else.
    """
    if header is None:
        raise BadRequest("Announce the chunk's MD5, base64, in the header Content-MD5.")
    try:
        digest = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise InvalidField("Content-MD5 takes the 16 bytes of an MD5 in base64.", field="Content-MD5")
    return digest.hex()


class ByteBudget:
    """Bytes of chunks in flight. One chunk is always let in, however large."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.in_flight_bytes = 0

    @contextlib.contextmanager
    def taken(self, size_bytes: int) -> Iterator[None]:
        """Hold ``size_bytes`` while inside.

        Raises:
            EdgeBusy: there is no room. Nobody waits in a queue here: another edge may have room now.
        """
        if self.in_flight_bytes and self.in_flight_bytes + size_bytes > self.capacity_bytes:
            raise EdgeBusy(retry_after_seconds=1)
        self.in_flight_bytes += size_bytes
        try:
            yield
        finally:
            self.in_flight_bytes -= size_bytes
