"""What the storage-gateway receives and sends."""

from jettythunder.broker import topology
from jettythunder.broker.topology import ConsumerQueue, ServiceMessages
from jettythunder.contracts import accounts, assets, uploads

SERVICE = "storage-gateway"
SOURCE = f"/{SERVICE}"

STORAGE_GATEWAY_EVENTS = ConsumerQueue(
    name="storage-gateway.events", exchange=topology.EVENTS, payloads=(assets.AssetObjectMissingV1,)
)

MESSAGES = ServiceMessages(
    service=SERVICE,
    queues=(STORAGE_GATEWAY_EVENTS,),
    sends=(
        accounts.ProvisionAccountV1,
        accounts.ChangeTierV1,
        accounts.RotateCredentialsV1,
        accounts.SuspendAccountV1,
        accounts.ResumeAccountV1,
        uploads.UploadChunkV2,
        assets.VerifyAssetV1,
        uploads.ChunkUploadedV1,
        uploads.UploadCreatedV1,
        uploads.UploadCompletedV1,
        uploads.UploadAbortedV1,
        assets.AssetStoredV1,
        assets.AssetDownloadedV1,
        assets.AssetStreamedV1,
        assets.AssetDeletedV1,
    ),
    sent_before=(uploads.UploadChunkV1,),
)
