"""What a chunk-worker receives and sends."""

from jettythunder.broker.topology import COMMANDS, ConsumerQueue, ServiceMessages
from jettythunder.contracts.uploads import ChunkFailedV1, ChunkUploadedV1, UploadChunkV1

CHUNK_WORKER_COMMANDS = ConsumerQueue(
    name="chunk-worker.commands", exchange=COMMANDS, payloads=(UploadChunkV1,)
)

MESSAGES = ServiceMessages(
    service="chunk-worker",
    queues=(CHUNK_WORKER_COMMANDS,),
    sends=(ChunkUploadedV1, ChunkFailedV1),
)
