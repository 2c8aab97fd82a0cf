"""Rotating credentials."""

from jettythunder.contracts.accounts import AccountCredentialsRotatedV1, AccountReply
from jettythunder.contracts.envelope import Payload
from provisioning.accounts.credentials import MasterKeys
from provisioning.accounts.model import Account, Delivery, User
from provisioning.accounts.once import OncePerMessage, reply
from provisioning.accounts.store import Changes, Store


class RotateCredentials:
    """Gives an account its next pair of credentials."""

    def __init__(self, store: Store, master_keys: MasterKeys) -> None:
        self._once = OncePerMessage(store)
        self._master_keys = master_keys

    async def __call__(self, delivery: Delivery, *, user_ref: str, grace_seconds: int) -> AccountReply:
        """Run the use-case; the pair before stays valid for ``grace_seconds``.

        Raises:
            InvalidField: the user id has a form that is not allowed.
            AccountNotFound: the user has no account.
            UserIdTaken: the user id maps to the account of another one.
        """
        user = User.of(user_ref)

        async def change(changes: Changes) -> Payload:
            account = await changes.lock_account_of(user)
            return await give_next_pair(changes, account, self._master_keys, grace_seconds=grace_seconds)

        return reply(await self._once(delivery, user, change), self._master_keys)


async def give_next_pair(
    changes: Changes, account: Account, master_keys: MasterKeys, *, grace_seconds: int
) -> AccountCredentialsRotatedV1:
    """Give a locked account its next pair, derived from the newest master key; the event that says so."""
    version = account.credential_version + 1
    await changes.set_credentials(
        account.id,
        master_keys.derive(account.id, version=version),
        version=version,
        grace_seconds=grace_seconds,
    )
    return AccountCredentialsRotatedV1(account_id=account.id, credential_version=version)
