"""What a chunk-worker receives and sends."""

from jettythunder.broker.topology import COMMANDS, ConsumerQueue, ServiceMessages
from jettythunder.contracts.assets import VerifyAssetV1
from jettythunder.contracts.uploads import ChunkFailedV1, ChunkUploadedV1, UploadChunkV1, UploadChunkV2

SOURCE = "/chunk-worker"

CHUNK_WORKER_COMMANDS = ConsumerQueue(
    name="chunk-worker.commands", exchange=COMMANDS, payloads=(UploadChunkV1, UploadChunkV2)
)
# Reading an object takes long, so it has a queue of its own and delays no upload.
CHUNK_WORKER_VERIFICATIONS = ConsumerQueue(
    name="chunk-worker.verifications", exchange=COMMANDS, payloads=(VerifyAssetV1,)
)

MESSAGES = ServiceMessages(
    service="chunk-worker",
    queues=(CHUNK_WORKER_COMMANDS, CHUNK_WORKER_VERIFICATIONS),
    sends=(ChunkUploadedV1, ChunkFailedV1),
    answers=True,
)
