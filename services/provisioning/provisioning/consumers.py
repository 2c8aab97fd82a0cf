"""What provisioning does with each message: parse, call, answer."""

from typing import Annotated, Any

from faststream import Context
from faststream.rabbit import RabbitRouter

from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.broker.topology import ConsumerQueue
from jettythunder.contracts.accounts import (
    AccountReply,
    ChangeTierV1,
    ProvisionAccountV1,
    RotateCredentialsV1,
)
from jettythunder.contracts.agentcache import MultimodalCacheEnabledV1, UserSignedUpV1, UserTierChangedV1
from jettythunder.contracts.envelope import Event
from jettythunder.errors import AccountNotFound, AccountNotProvisionedYet
from provisioning.domain import Delivery
from provisioning.messages import PROVISIONING_COMMANDS, PROVISIONING_EVENTS
from provisioning.service import Provisioning

_PREFETCH = 32

router = RabbitRouter()
events = router.subscriber(**consumes(PROVISIONING_EVENTS, prefetch=_PREFETCH))
commands = router.subscriber(**consumes(PROVISIONING_COMMANDS, prefetch=_PREFETCH))
ROUTERS = (router,)

Accounts = Annotated[Provisioning, Context("accounts")]


@events(filter=of_type(UserSignedUpV1))
async def on_signed_up(event: Event[UserSignedUpV1], accounts: Accounts) -> AccountReply:
    """A user signed up: make the account where there is none."""
    return await _provision(event, accounts)


@events(filter=of_type(MultimodalCacheEnabledV1))
async def on_cache_enabled(event: Event[MultimodalCacheEnabledV1], accounts: Accounts) -> AccountReply:
    """A user switched the multimodal cache on: make the account where there is none."""
    return await _provision(event, accounts)


@events(filter=of_type(UserTierChangedV1))
async def on_tier_changed(event: Event[UserTierChangedV1], accounts: Accounts) -> AccountReply:
    """A user's tier changed. An unknown user's sign-up may be on the way: tried again."""
    try:
        return await accounts.change_tier(
            _delivery(PROVISIONING_EVENTS, event),
            user_ref=event.data.user_id,
            tier=event.data.tier,
            changed_at=event.time,
        )
    except AccountNotFound as error:
        raise AccountNotProvisionedYet from error


@commands(filter=of_type(ProvisionAccountV1))
async def on_provision(event: Event[ProvisionAccountV1], accounts: Accounts) -> AccountReply:
    """Make the account, or answer with the one there is."""
    command = event.data
    return await accounts.provision(
        _delivery(PROVISIONING_COMMANDS, event),
        user_ref=command.agentcache_user_id,
        email=command.agentcache_email,
        tier=command.tier,
    )


@commands(filter=of_type(ChangeTierV1))
async def on_change_tier(event: Event[ChangeTierV1], accounts: Accounts) -> AccountReply:
    """Move the account to another tier."""
    return await accounts.change_tier(
        _delivery(PROVISIONING_COMMANDS, event),
        user_ref=event.data.agentcache_user_id,
        tier=event.data.tier,
    )


@commands(filter=of_type(RotateCredentialsV1))
async def on_rotate_credentials(event: Event[RotateCredentialsV1], accounts: Accounts) -> AccountReply:
    """Give the account its next pair of credentials."""
    return await accounts.rotate_credentials(
        _delivery(PROVISIONING_COMMANDS, event),
        user_ref=event.data.agentcache_user_id,
        grace_seconds=event.data.grace_seconds,
    )


async def _provision(
    event: Event[UserSignedUpV1] | Event[MultimodalCacheEnabledV1], accounts: Provisioning
) -> AccountReply:
    wanted = event.data
    return await accounts.provision(
        _delivery(PROVISIONING_EVENTS, event),
        user_ref=wanted.user_id,
        email=wanted.email,
        tier=wanted.tier,
    )


def _delivery(queue: ConsumerQueue, event: Event[Any]) -> Delivery:
    return Delivery(consumer=queue.name, event_id=event.id)
