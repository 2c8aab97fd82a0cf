"""What provisioning receives and sends."""

from jettythunder.broker.topology import AGENTCACHE_EVENTS, COMMANDS, ConsumerQueue, ServiceMessages
from jettythunder.contracts.accounts import (
    AccountCredentialsRotatedV1,
    AccountProvisionedV1,
    AccountTierChangedV1,
    ChangeTierV1,
    ProvisionAccountV1,
    ResumeAccountV1,
    RotateCredentialsV1,
    SuspendAccountV1,
)
from jettythunder.contracts.agentcache import MultimodalCacheEnabledV1, UserSignedUpV1, UserTierChangedV1

PROVISIONING_EVENTS = ConsumerQueue(
    name="provisioning.agentcache-events",
    exchange=AGENTCACHE_EVENTS,
    payloads=(UserSignedUpV1, UserTierChangedV1, MultimodalCacheEnabledV1),
)
PROVISIONING_COMMANDS = ConsumerQueue(
    name="provisioning.commands",
    exchange=COMMANDS,
    payloads=(ProvisionAccountV1, ChangeTierV1, RotateCredentialsV1, SuspendAccountV1, ResumeAccountV1),
)

MESSAGES = ServiceMessages(
    service="provisioning",
    queues=(PROVISIONING_EVENTS, PROVISIONING_COMMANDS),
    sends=(AccountProvisionedV1, AccountTierChangedV1, AccountCredentialsRotatedV1),
    answers=True,
    external={
        "agentcache": (UserSignedUpV1, UserTierChangedV1, MultimodalCacheEnabledV1),
    },
)
