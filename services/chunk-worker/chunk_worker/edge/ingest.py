"""Taking chunks that clients send by HTTP, each with a token for it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from uuid import UUID

from prometheus_client import Gauge
from starlette.requests import ClientDisconnect

from chunk_worker.chunks.storing import ChunkStore
from chunk_worker.edge.model import InFlight, check_token, parse_content_md5
from chunk_worker.edge.recorder import Recorder
from jettythunder import edge_tokens, security_log
from jettythunder.chunks.attempts import Attempts
from jettythunder.chunks.model import Chunk, RecordedChunk
from jettythunder.drain import UnderWay
from jettythunder.errors import TruncatedBody, UploadTimedOut
from jettythunder.http.pace import Pace
from jettythunder.signatures import VerifyingKeys

_in_flight = Gauge("jettythunder_edge_in_flight_bytes", "Bytes of chunks that clients are sending")
_budget = Gauge("jettythunder_edge_budget_bytes", "Bytes of chunks that the edge holds at most")


class EdgeIngest:
    """Takes chunks from clients. A chunk's bytes pass through; no more than the sockets' buffers is held.

    Args:
        keys: what tokens are checked with.
        stall_seconds: the longest silence of a client before its chunk is given up.
        least_bytes_per_second: what a client must send on average.
        late_seconds: how long after its token's expiry a chunk may still arrive.
    """

    def __init__(
        self,
        store: ChunkStore,
        keys: VerifyingKeys,
        in_flight: InFlight,
        attempts: Attempts,
        recorder: Recorder,
        *,
        stall_seconds: float,
        least_bytes_per_second: int,
        late_seconds: float,
    ) -> None:
        self._store = store
        self._keys = keys
        self._in_flight = in_flight
        self._attempts = attempts
        self._recorder = recorder
        self._stall_seconds = stall_seconds
        self._least_bytes_per_second = least_bytes_per_second
        self._late_seconds = late_seconds
        self._under_way = UnderWay()
        _in_flight.set_function(lambda: in_flight.bytes)
        _budget.set(in_flight.capacity_bytes)

    async def take(
        self,
        upload_id: UUID,
        number: int,
        *,
        token: str,
        content_md5: str,
        length_bytes: int | None,
        body: AsyncIterator[bytes],
    ) -> RecordedChunk:
        """Store one chunk.

        Raises:
            LinkInvalid, LinkExpired, LinkRevoked: the token does not allow this chunk, or not any more.
            EdgeBusy, TooManyAttempts: too much is in flight, or the chunk came too often; nothing was read.
            TruncatedBody, UploadTimedOut, ChecksumMismatch: not the chunk's bytes arrived; none is stored.
            ShuttingDown: the edge takes no more chunks, or ends before this one is stored.
        """
        allowed = edge_tokens.read(self._keys, token)
        security_log.identify("edge_token", account_id=allowed.account_id)
        check_token(allowed, upload_id=upload_id, number=number, length_bytes=length_bytes)
        chunk = Chunk(
            upload_id=upload_id,
            account_id=allowed.account_id,
            number=number,
            size_bytes=allowed.size_bytes,
            checksum=parse_content_md5(content_md5),
            s3_bucket=allowed.s3_bucket,
            s3_key=allowed.s3_key,
            s3_upload_id=allowed.s3_upload_id,
            epoch=allowed.epoch,
        )
        pace = Pace(stall_seconds=self._stall_seconds, least_bytes_per_second=self._least_bytes_per_second)
        deadline = asyncio.get_running_loop().time() + allowed.expires_at - time.time() + self._late_seconds
        blocks = _arriving(body, pace, deadline=deadline)

        def opened() -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
            # A chunk that is answered from its record is not read, and not counted.
            self._attempts.count(upload_id, number)
            return contextlib.nullcontext(blocks)

        with self._under_way.begun(), self._in_flight.taken(chunk.account_id, chunk.size_bytes):
            stored = await self._store.store(chunk, opened)
        self._recorder.note(upload_id, number, edge=stored.edge)
        return stored

    async def drain(self) -> None:
        """Take no more chunks, and wait for those under way; where this is cancelled, they fail."""
        await self._under_way.drain()


async def _arriving(body: AsyncIterator[bytes], pace: Pace, *, deadline: float) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                block = await pace.receive(body)
        except TimeoutError:
            raise UploadTimedOut("The chunk's token expired before the chunk had arrived.") from None
        except ClientDisconnect:
            raise TruncatedBody from None
        if block is None:
            return
        if block:
            yield block
