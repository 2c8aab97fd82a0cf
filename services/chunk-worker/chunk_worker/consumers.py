"""What a chunk-worker does with its commands: parse, call, answer."""

from collections.abc import Sequence
from typing import Annotated

from faststream import Context
from faststream.rabbit import Channel, RabbitRouter

from chunk_worker import domain
from chunk_worker.domain import Chunk
from chunk_worker.messages import CHUNK_WORKER_COMMANDS
from chunk_worker.service import ChunkStore
from chunk_worker.source import ChunkSource
from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.contracts.envelope import Event
from jettythunder.contracts.uploads import ChunkStored, UploadChunkV1
from jettythunder.errors import JettyThunderError

router = RabbitRouter()
commands = router.subscriber(**consumes(CHUNK_WORKER_COMMANDS, prefetch=1))
ROUTERS = (router,)


def set_prefetch(count: int) -> None:
    """How many chunks are in flight at once; before the broker is started."""
    commands.channel = Channel(prefetch_count=count)


class Ingest:
    """Stores the chunks that gateways hold."""

    def __init__(self, store: ChunkStore, source: ChunkSource, *, gateway_prefixes: Sequence[str]) -> None:
        self._store = store
        self._source = source
        self._gateway_prefixes = gateway_prefixes

    async def store(self, command: UploadChunkV1) -> ChunkStored:
        """Store a chunk. A failure that repeating can't mend is announced by an event, too."""
        chunk = Chunk(**command.model_dump(exclude={"source_url"}))
        try:
            return await self._fetch_and_store(chunk, command.source_url)
        except JettyThunderError as error:
            if not error.retryable:
                await self._store.report_failure(chunk, error.code)
            raise

    async def _fetch_and_store(self, chunk: Chunk, url: str) -> ChunkStored:
        domain.check_source(
            url, upload_id=chunk.upload_id, number=chunk.number, prefixes=self._gateway_prefixes
        )
        stored = await self._store.store(chunk, lambda: self._source.fetch(url, size_bytes=chunk.size_bytes))
        return ChunkStored(upload_id=chunk.upload_id, number=chunk.number, etag=stored.etag, md5=stored.md5)


@commands(filter=of_type(UploadChunkV1))
async def on_upload_chunk(
    event: Event[UploadChunkV1], ingest: Annotated[Ingest, Context("ingest")]
) -> ChunkStored:
    """Store a chunk. The caller waits for the answer, and repeats what is worth repeating."""
    return await ingest.store(event.data)
