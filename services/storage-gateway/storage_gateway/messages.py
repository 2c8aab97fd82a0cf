"""What the gateway receives and sends."""

from jettythunder.broker.topology import EVENTS, ConsumerQueue, ServiceMessages
from jettythunder.contracts.accounts import ChangeTierV1, ProvisionAccountV1
from jettythunder.contracts.assets import (
    AssetDeletedV1,
    AssetDownloadedV1,
    AssetObjectMissingV1,
    AssetStoredV1,
    AssetStreamedV1,
)
from jettythunder.contracts.uploads import (
    UploadAbortedV1,
    UploadChunkV1,
    UploadCompletedV1,
    UploadCreatedV1,
)

STORAGE_GATEWAY_EVENTS = ConsumerQueue(
    name="storage-gateway.events", exchange=EVENTS, payloads=(AssetObjectMissingV1,)
)

MESSAGES = ServiceMessages(
    service="storage-gateway",
    queues=(STORAGE_GATEWAY_EVENTS,),
    sends=(
        ProvisionAccountV1,
        ChangeTierV1,
        UploadChunkV1,
        UploadCreatedV1,
        UploadCompletedV1,
        UploadAbortedV1,
        AssetStoredV1,
        AssetDownloadedV1,
        AssetStreamedV1,
        AssetDeletedV1,
    ),
)
