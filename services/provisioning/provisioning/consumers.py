"""What provisioning does with each message: parse, call, answer."""

from typing import TypeVar

from jettythunder.backbone import Backbone
from jettythunder.contracts.accounts import (
    AccountReply,
    ChangeTierV1,
    ProvisionAccountV1,
    RotateCredentialsV1,
)
from jettythunder.contracts.agentcache import MultimodalCacheEnabledV1, UserSignedUpV1, UserTierChangedV1
from jettythunder.contracts.envelope import AnyPayload, Event
from jettythunder.errors import AccountNotFound, AccountNotProvisionedYet
from jettythunder.topology import PROVISIONING_COMMANDS, PROVISIONING_EVENTS, ConsumerQueue
from provisioning.domain import Delivery
from provisioning.service import Provisioning

_PREFETCH = 32

AccountWanted = TypeVar("AccountWanted", UserSignedUpV1, MultimodalCacheEnabledV1)


class EventHandlers:
    """AgentCache's events. A publisher that set reply_to gets the account with its credentials."""

    def __init__(self, service: Provisioning) -> None:
        self._service = service

    async def on_account_wanted(self, event: Event[AccountWanted]) -> AccountReply:
        """A user signed up, or switched the multimodal cache on: make the account where there is none."""
        wanted = event.data
        return await self._service.provision(
            _delivery(PROVISIONING_EVENTS, event),
            user_ref=wanted.user_id,
            email=wanted.email,
            tier=wanted.tier,
        )

    async def on_tier_changed(self, event: Event[UserTierChangedV1]) -> AccountReply:
        """A user's tier changed. An unknown user's sign-up may be on the way: tried again."""
        try:
            return await self._service.change_tier(
                _delivery(PROVISIONING_EVENTS, event),
                user_ref=event.data.user_id,
                tier=event.data.tier,
                changed_at=event.time,
            )
        except AccountNotFound as error:
            raise AccountNotProvisionedYet from error


class CommandHandlers:
    """The gateway's commands. The caller waits for the answer."""

    def __init__(self, service: Provisioning) -> None:
        self._service = service

    async def on_provision(self, event: Event[ProvisionAccountV1]) -> AccountReply:
        """Make the account, or answer with the one there is."""
        command = event.data
        return await self._service.provision(
            _delivery(PROVISIONING_COMMANDS, event),
            user_ref=command.agentcache_user_id,
            email=command.agentcache_email,
            tier=command.tier,
        )

    async def on_change_tier(self, event: Event[ChangeTierV1]) -> AccountReply:
        """Move the account to another tier."""
        return await self._service.change_tier(
            _delivery(PROVISIONING_COMMANDS, event),
            user_ref=event.data.agentcache_user_id,
            tier=event.data.tier,
        )

    async def on_rotate_credentials(self, event: Event[RotateCredentialsV1]) -> AccountReply:
        """Give the account its next pair."""
        return await self._service.rotate_credentials(
            _delivery(PROVISIONING_COMMANDS, event),
            user_ref=event.data.agentcache_user_id,
            grace_seconds=event.data.grace_seconds,
        )


def subscribe(backbone: Backbone, service: Provisioning) -> None:
    """Register every handler; messages flow once the backbone is started."""
    events, commands = EventHandlers(service), CommandHandlers(service)
    from_agentcache = backbone.consumer(PROVISIONING_EVENTS, prefetch=_PREFETCH)
    from_agentcache.on(UserSignedUpV1, events.on_account_wanted)
    from_agentcache.on(MultimodalCacheEnabledV1, events.on_account_wanted)
    from_agentcache.on(UserTierChangedV1, events.on_tier_changed)
    from_gateway = backbone.consumer(PROVISIONING_COMMANDS, prefetch=_PREFETCH)
    from_gateway.on(ProvisionAccountV1, commands.on_provision)
    from_gateway.on(ChangeTierV1, commands.on_change_tier)
    from_gateway.on(RotateCredentialsV1, commands.on_rotate_credentials)


def _delivery(queue: ConsumerQueue, event: Event[AnyPayload]) -> Delivery:
    return Delivery(consumer=queue.name, event_id=event.id)
