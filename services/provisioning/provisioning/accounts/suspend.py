"""Suspending accounts, and ending suspensions."""

from jettythunder.contracts.accounts import AccountReply
from provisioning.accounts.credentials import MasterKeys
from provisioning.accounts.model import Delivery, User
from provisioning.accounts.once import OncePerMessage, reply
from provisioning.accounts.store import Changes, Store


class SuspendAccount:
    """Suspends an account, or ends its suspension. A suspended account may do nothing; its assets stay."""

    def __init__(self, store: Store, master_keys: MasterKeys) -> None:
        self._once = OncePerMessage(store)
        self._master_keys = master_keys

    async def __call__(self, delivery: Delivery, *, user_ref: str, suspended: bool) -> AccountReply:
        """Run the use-case.

        Raises:
            InvalidField: the user id has a form that is not allowed.
            AccountNotFound: the user has no account.
            UserIdTaken: the user id maps to the account of another one.
        """
        user = User.of(user_ref)

        async def change(changes: Changes) -> None:
            account = await changes.lock_account_of(user)
            await changes.set_suspended(account.id, suspended=suspended)

        return reply(await self._once(delivery, user, change), self._master_keys)
