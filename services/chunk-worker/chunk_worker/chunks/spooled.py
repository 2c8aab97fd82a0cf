"""Storing the chunks that gateways hold in their spools."""

from contextlib import AbstractAsyncContextManager
from typing import Protocol

from chunk_worker.chunks.gateways import GatewayAddresses
from chunk_worker.chunks.storing import Blocks, ChunkStore
from jettythunder.chunk_urls import ChunkUrls
from jettythunder.chunks.model import Chunk, RecordedChunk
from jettythunder.contracts.uploads import ChunkFailedV1
from jettythunder.errors import JettyThunderError, LinkInvalid


class Spools(Protocol):
    """Gateways' spools."""

    def fetch(self, url: str, *, size_bytes: int) -> AbstractAsyncContextManager[Blocks]: ...


class Failures(Protocol):
    """Where failed chunks are announced."""

    async def publish_failure(self, event: ChunkFailedV1) -> None: ...


class SpooledChunks:
    """Stores chunks that gateways hold.

    Args:
        gateways: where chunks may be fetched from.
    """

    def __init__(
        self,
        store: ChunkStore,
        spools: Spools,
        failures: Failures,
        urls: ChunkUrls,
        *,
        gateways: GatewayAddresses,
        edge: str,
    ) -> None:
        self._store = store
        self._spools = spools
        self._failures = failures
        self._urls = urls
        self._gateways = gateways
        self._edge = edge

    async def store(self, chunk: Chunk, *, source_url: str) -> RecordedChunk:
        """Fetch a chunk and store it. A failure that repeating can't mend is published as an event, too.

        Raises:
            LinkInvalid, LinkExpired: the address is not a gateway's, or not any more, or the chunk is meant
                for another object.
            ChunkGone: the gateway holds the chunk no more.
            ChunkSourceUnavailable: the gateway can't be reached, or fails.
        """
        try:
            return await self._fetch_and_store(chunk, source_url)
        except JettyThunderError as error:
            if not error.retryable:
                await self._publish_failure(chunk, error.code)
            raise

    async def _fetch_and_store(self, chunk: Chunk, url: str) -> RecordedChunk:
        self._urls.check_url(url, chunk.upload_id, chunk.number)
        if url not in self._gateways:
            raise LinkInvalid("The chunk's address is not one of GATEWAY_INTERNAL_URLS.")
        return await self._store.store(chunk, lambda: self._spools.fetch(url, size_bytes=chunk.size_bytes))

    async def _publish_failure(self, chunk: Chunk, code: str) -> None:
        await self._failures.publish_failure(
            ChunkFailedV1(
                account_id=chunk.account_id,
                upload_id=chunk.upload_id,
                number=chunk.number,
                code=code,
                edge=self._edge,
            )
        )
