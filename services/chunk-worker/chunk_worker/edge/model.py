"""Rules of the edge: which chunk a token allows, and how much is taken at once."""

import base64
import binascii
import contextlib
from collections.abc import Iterator
from uuid import UUID

from jettythunder.checksums import Algorithm, Checksum
from jettythunder.edge_tokens import EdgeToken
from jettythunder.errors import EdgeBusy, InvalidField, LinkInvalid
from jettythunder.slots import Slots


def check_token(token: EdgeToken, *, upload_id: UUID, number: int, length_bytes: int | None) -> None:
    """Make sure that a token is for this very chunk. A body of unannounced length is measured later.

    Raises:
        LinkInvalid: it is for another upload, number or size.
    """
    if (token.upload_id, token.number) != (upload_id, number):
        raise LinkInvalid("The token is for another chunk.")
    if length_bytes not in (None, token.size_bytes):
        raise LinkInvalid(f"The token is for {token.size_bytes} bytes, and {length_bytes} are announced.")


def parse_content_md5(header: str) -> Checksum:
    """The MD5 of a Content-MD5 header (RFC 1864, base64).

    Raises:
        InvalidField: it holds something else.
    """
    try:
        digest = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise InvalidField("Content-MD5 takes the 16 bytes of an MD5 in base64.", field="Content-MD5")
    return Checksum(Algorithm.MD5, digest)


# A chunk passes through: what an edge holds of it is in the buffers of two sockets.
BUFFERED_BYTES = 1 << 20


class InFlight:
    """The chunks that an edge takes at once. One chunk is always admitted, however large.

    Args:
        capacity_bytes: bytes of chunks that the edge holds at once; a chunk holds its buffers.
        slots: how many chunks each account may have in flight.
    """

    def __init__(self, capacity_bytes: int, slots: Slots) -> None:
        self.capacity_bytes = capacity_bytes
        self.bytes = 0
        self._slots = slots

    @contextlib.contextmanager
    def taken(self, account_id: UUID, size_bytes: int) -> Iterator[None]:
        """Hold what a chunk of ``size_bytes`` takes while inside.

        Raises:
            EdgeBusy: there is no room, or the account has as many chunks in flight as it may have. There is
                no queue: another edge may have room now.
        """
        held_bytes = min(size_bytes, BUFFERED_BYTES)
        if self.bytes and self.bytes + held_bytes > self.capacity_bytes:
            raise EdgeBusy(retry_after_seconds=1)
        if not self._slots.take(account_id):
            raise EdgeBusy(retry_after_seconds=1)
        self.bytes += held_bytes
        try:
            yield
        finally:
            self.bytes -= held_bytes
            self._slots.give_back(account_id)
