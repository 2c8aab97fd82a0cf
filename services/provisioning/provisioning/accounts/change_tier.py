"""Moving accounts between tiers."""

from datetime import datetime

from jettythunder.contracts.accounts import AccountReply, AccountTierChangedV1
from jettythunder.contracts.envelope import Payload
from provisioning.accounts.credentials import MasterKeys
from provisioning.accounts.model import Delivery, User, is_overtaken
from provisioning.accounts.once import OncePerMessage, reply
from provisioning.accounts.store import Changes, Store


class ChangeTier:
    """Moves an account to another tier, up or down, with its quotas in force at once."""

    def __init__(self, store: Store, master_keys: MasterKeys) -> None:
        self._once = OncePerMessage(store)
        self._master_keys = master_keys

    async def __call__(
        self, delivery: Delivery, *, user_ref: str, tier: str, changed_at: datetime | None = None
    ) -> AccountReply:
        """Run the use-case.

        Args:
            changed_at: when the change was made elsewhere. One that is older than the change in force has
                no effect, so events may arrive in any order. None means now.

        Raises:
            InvalidField: the user id has a form that is not allowed.
            UnknownTier: there is no such tier.
            AccountNotFound: the user has no account.
            UserIdTaken: the user id maps to the account of another one.
        """
        user = User.of(user_ref)
        account = await self._once(
            delivery, user, lambda changes: _move(changes, user, tier, changed_at=changed_at)
        )
        return reply(account, self._master_keys)


async def _move(changes: Changes, user: User, tier: str, *, changed_at: datetime | None) -> Payload | None:
    limits = await changes.tier(tier)
    account = await changes.lock_usage_of(user)
    if is_overtaken(account, changed_at):
        return None
    # Noted also where the tier stays: an older change that comes later must not undo this one.
    await changes.note_tier_change(account.id, changed_at=changed_at)
    if limits.tier == account.agentcache_tier:
        return None
    await changes.set_tier(account.id, limits)
    return AccountTierChangedV1(
        account_id=account.id,
        agentcache_user_id=account.agentcache_user_ref,
        previous_tier=account.agentcache_tier,
        **vars(limits),
    )
