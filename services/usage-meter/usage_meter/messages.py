"""What the usage-meter receives and sends."""

from jettythunder.broker.topology import EVENTS, ConsumerQueue, ServiceMessages
from jettythunder.contracts.accounts import AccountProvisionedV1, AccountTierChangedV1
from jettythunder.contracts.assets import (
    AssetDeletedV1,
    AssetDownloadedV1,
    AssetObjectMissingV1,
    AssetStreamedV1,
)
from jettythunder.contracts.quota import (
    QuotaExceededV1,
    QuotaRestoredV1,
    QuotaThresholdCrossedV1,
    UsageRecordedV1,
)
from jettythunder.contracts.uploads import UploadAbortedV1, UploadCompletedV1

SERVICE = "usage-meter"
SOURCE = f"/{SERVICE}"

USAGE_METER_EVENTS = ConsumerQueue(
    name=f"{SERVICE}.events",
    exchange=EVENTS,
    payloads=(
        UploadCompletedV1,
        UploadAbortedV1,
        AssetDownloadedV1,
        AssetStreamedV1,
        AssetDeletedV1,
        AccountProvisionedV1,
        AccountTierChangedV1,
    ),
)
USAGE_METER_WEBHOOKS = ConsumerQueue(
    name=f"{SERVICE}.webhooks",
    exchange=EVENTS,
    payloads=(QuotaThresholdCrossedV1, QuotaExceededV1, QuotaRestoredV1),
)

MESSAGES = ServiceMessages(
    service=SERVICE,
    queues=(USAGE_METER_EVENTS, USAGE_METER_WEBHOOKS),
    sends=(
        QuotaThresholdCrossedV1,
        QuotaExceededV1,
        QuotaRestoredV1,
        UsageRecordedV1,
        AssetObjectMissingV1,
    ),
    reads_log=True,
)
