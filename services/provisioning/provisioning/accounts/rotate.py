"""Rotating credentials."""

from jettythunder.contracts.accounts import AccountCredentialsRotatedV1, AccountReply
from jettythunder.contracts.envelope import Payload
from provisioning.accounts.credentials import MasterKey
from provisioning.accounts.model import Delivery, User
from provisioning.accounts.once import OncePerMessage, reply
from provisioning.accounts.store import Changes, Store


class RotateCredentials:
    """Gives an account its next pair of credentials."""

    def __init__(self, store: Store, master_key: MasterKey) -> None:
        self._once = OncePerMessage(store)
        self._master_key = master_key

    async def __call__(self, delivery: Delivery, *, user_ref: str, grace_seconds: int) -> AccountReply:
        """Run the use-case; the pair before stays valid for ``grace_seconds``.

        Raises:
            InvalidField: the user id has a form that is not allowed.
            AccountNotFound: the user has no account.
            UserIdTaken: the user id maps to the account of another one.
        """
        user = User.of(user_ref)
        account = await self._once(
            delivery, user, lambda changes: self._rotate(changes, user, grace_seconds=grace_seconds)
        )
        return reply(account, self._master_key)

    async def _rotate(self, changes: Changes, user: User, *, grace_seconds: int) -> Payload:
        account = await changes.lock_account_of(user)
        version = account.credential_version + 1
        await changes.set_credentials(
            account.id,
            self._master_key.derive(account.id, version=version),
            version=version,
            grace_seconds=grace_seconds,
        )
        return AccountCredentialsRotatedV1(account_id=account.id, credential_version=version)
