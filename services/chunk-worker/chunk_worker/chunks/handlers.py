"""What a chunk-worker does with the gateways' commands: parse, call, answer."""

from typing import Annotated

from faststream import Context
from faststream.rabbit import Channel, RabbitRouter

from chunk_worker.chunks.spooled import SpooledChunks
from chunk_worker.messages import CHUNK_WORKER_COMMANDS
from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.checksums import Checksum
from jettythunder.chunks.model import Chunk
from jettythunder.contracts.envelope import Event
from jettythunder.contracts.uploads import ChunkStored, UploadChunkV1, UploadChunkV2

router = RabbitRouter()
commands = router.subscriber(**consumes(CHUNK_WORKER_COMMANDS, prefetch=1))


def set_prefetch(count: int) -> None:
    """Set how many chunks are in flight at once, before the broker is started."""
    commands.channel = Channel(prefetch_count=count)


@commands(filter=of_type(UploadChunkV2))
async def on_upload_chunk(
    event: Event[UploadChunkV2], chunks: Annotated[SpooledChunks, Context("spooled_chunks")]
) -> ChunkStored:
    """Store a chunk. The caller waits for the answer, and repeats what is worth repeating."""
    return await _store(chunks, event.data, event.data.checksum)


@commands(filter=of_type(UploadChunkV1))
async def on_upload_chunk_v1(
    event: Event[UploadChunkV1], chunks: Annotated[SpooledChunks, Context("spooled_chunks")]
) -> ChunkStored:
    """The same for a gateway of the version before."""
    return await _store(chunks, event.data, event.data.md5)


async def _store(chunks: SpooledChunks, command: UploadChunkV1 | UploadChunkV2, checksum: str) -> ChunkStored:
    chunk = Chunk(
        upload_id=command.upload_id,
        account_id=command.account_id,
        number=command.number,
        size_bytes=command.size_bytes,
        checksum=Checksum.parse(checksum),
        s3_bucket=command.s3_bucket,
        s3_key=command.s3_key,
        s3_upload_id=command.s3_upload_id,
    )
    stored = await chunks.store(chunk, source_url=command.source_url)
    return ChunkStored(
        upload_id=chunk.upload_id, number=chunk.number, etag=stored.etag, md5=str(stored.checksum)
    )
