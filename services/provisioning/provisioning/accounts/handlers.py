"""What provisioning does with each message: parse, call, answer.

The caller of a command waits for the answer. An event of AgentCache is answered where its publisher set
``reply_to``.
"""

from typing import Annotated

from faststream import Context
from faststream.rabbit import RabbitRouter

from jettythunder import security_log
from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.contracts.accounts import (
    AccountReply,
    ChangeTierV1,
    ProvisionAccountV1,
    ResumeAccountV1,
    RotateCredentialsV1,
    SuspendAccountV1,
)
from jettythunder.contracts.agentcache import MultimodalCacheEnabledV1, UserSignedUpV1, UserTierChangedV1
from jettythunder.contracts.envelope import AnyPayload, Event
from jettythunder.errors import AccountNotFound
from jettythunder.security_log import SecurityEvent
from provisioning.accounts.change_tier import ChangeTier
from provisioning.accounts.model import Delivery
from provisioning.accounts.provision import ProvisionAccount
from provisioning.accounts.rotate import RotateCredentials
from provisioning.accounts.suspend import SuspendAccount
from provisioning.errors import AccountNotProvisionedYet
from provisioning.messages import PROVISIONING_COMMANDS, PROVISIONING_EVENTS

_PREFETCH = 32

router = RabbitRouter()
events = router.subscriber(**consumes(PROVISIONING_EVENTS, prefetch=_PREFETCH))
commands = router.subscriber(**consumes(PROVISIONING_COMMANDS, prefetch=_PREFETCH))
ROUTERS = (router,)

Provision = Annotated[ProvisionAccount, Context("provision_account")]
Change = Annotated[ChangeTier, Context("change_tier")]
Rotate = Annotated[RotateCredentials, Context("rotate_credentials")]
Suspend = Annotated[SuspendAccount, Context("suspend_account")]


@events(filter=of_type(UserSignedUpV1))
async def on_signed_up(event: Event[UserSignedUpV1], provision: Provision) -> AccountReply:
    """A user signed up: make the account where there is none."""
    user = event.data
    delivery = _delivery(PROVISIONING_EVENTS, event)
    return await provision(delivery, user_ref=user.user_id, email=user.email, tier=user.tier)


@events(filter=of_type(MultimodalCacheEnabledV1))
async def on_cache_enabled(event: Event[MultimodalCacheEnabledV1], provision: Provision) -> AccountReply:
    """A user switched the multimodal cache on: make the account where there is none."""
    user = event.data
    delivery = _delivery(PROVISIONING_EVENTS, event)
    return await provision(delivery, user_ref=user.user_id, email=user.email, tier=user.tier)


@events(filter=of_type(UserTierChangedV1))
async def on_tier_changed(event: Event[UserTierChangedV1], change_tier: Change) -> AccountReply:
    """A user's tier changed. An unknown user's sign-up may be on the way, so this is tried again."""
    user = event.data
    delivery = _delivery(PROVISIONING_EVENTS, event)
    try:
        return await change_tier(delivery, user_ref=user.user_id, tier=user.tier, changed_at=event.time)
    except AccountNotFound as error:
        raise AccountNotProvisionedYet from error


@commands(filter=of_type(ProvisionAccountV1))
async def on_provision(event: Event[ProvisionAccountV1], provision: Provision) -> AccountReply:
    """Make the account, or answer with the one there is."""
    command = event.data
    return await provision(
        _delivery(PROVISIONING_COMMANDS, event),
        user_ref=command.agentcache_user_id,
        email=command.agentcache_email,
        tier=command.tier,
    )


@commands(filter=of_type(ChangeTierV1))
async def on_change_tier(event: Event[ChangeTierV1], change_tier: Change) -> AccountReply:
    """Move the account to another tier."""
    command = event.data
    delivery = _delivery(PROVISIONING_COMMANDS, event)
    return await change_tier(delivery, user_ref=command.agentcache_user_id, tier=command.tier)


@commands(filter=of_type(RotateCredentialsV1))
async def on_rotate_credentials(event: Event[RotateCredentialsV1], rotate: Rotate) -> AccountReply:
    """Give the account its next pair of credentials."""
    command = event.data
    delivery = _delivery(PROVISIONING_COMMANDS, event)
    reply = await rotate(delivery, user_ref=command.agentcache_user_id, grace_seconds=command.grace_seconds)
    key_id = security_log.key_id(reply.api_key)
    security_log.record(SecurityEvent.CREDENTIALS_ROTATED, account_id=str(reply.id), key_id=key_id)
    return reply


@commands(filter=of_type(SuspendAccountV1))
async def on_suspend(event: Event[SuspendAccountV1], suspend: Suspend) -> AccountReply:
    """Suspend the account."""
    delivery = _delivery(PROVISIONING_COMMANDS, event)
    reply = await suspend(delivery, user_ref=event.data.agentcache_user_id, suspended=True)
    security_log.record(SecurityEvent.ACCOUNT_SUSPENDED, account_id=str(reply.id))
    return reply


@commands(filter=of_type(ResumeAccountV1))
async def on_resume(event: Event[ResumeAccountV1], suspend: Suspend) -> AccountReply:
    """End the account's suspension."""
    delivery = _delivery(PROVISIONING_COMMANDS, event)
    reply = await suspend(delivery, user_ref=event.data.agentcache_user_id, suspended=False)
    security_log.record(SecurityEvent.ACCOUNT_RESUMED, account_id=str(reply.id))
    return reply


def _delivery(queue: ConsumerQueue, event: Event[AnyPayload]) -> Delivery:
    return Delivery(consumer=queue.name, event_id=event.id, event_time=event.time)
