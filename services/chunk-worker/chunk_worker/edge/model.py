"""Rules of the edge: which chunk a token allows, and how much is taken at once."""

import base64
import binascii
import contextlib
from collections.abc import Iterator
from uuid import UUID

from chunk_worker.errors import EdgeBusy
from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import BadRequest, InvalidField, LinkInvalid


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


class InFlightBytes:
    """The bytes of chunks that an edge takes at once. One chunk is always admitted, however large."""

    def __init__(self, capacity_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.bytes = 0

    @contextlib.contextmanager
    def taken(self, size_bytes: int) -> Iterator[None]:
        """Hold ``size_bytes`` while inside.

        Raises:
            EdgeBusy: there is no room. There is no queue: another edge may have room now.
        """
        if self.bytes and self.bytes + size_bytes > self.capacity_bytes:
            raise EdgeBusy(retry_after_seconds=1)
        self.bytes += size_bytes
        try:
            yield
        finally:
            self.bytes -= size_bytes
