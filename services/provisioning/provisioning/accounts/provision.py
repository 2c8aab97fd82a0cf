"""Making accounts."""

from jettythunder.contracts.accounts import AccountProvisionedV1, AccountReply
from jettythunder.contracts.envelope import Payload
from jettythunder.folders import folder_of
from jettythunder.ids import new_id
from provisioning.accounts.credentials import MasterKeys
from provisioning.accounts.folder import Folders
from provisioning.accounts.model import Account, Delivery, User, check_email
from provisioning.accounts.once import OncePerMessage, reply
from provisioning.accounts.store import Changes, Store


class ProvisionAccount:
    """Makes the account of a user where there is none, and answers with the account as it is.

    Guarantee: a user has one account and one pair of credentials, however many calls ask for them at once.

    Args:
        s3_bucket: where new accounts' objects are stored.
    """

    def __init__(self, store: Store, folders: Folders, master_keys: MasterKeys, *, s3_bucket: str) -> None:
        self._store = store
        self._once = OncePerMessage(store)
        self._folders = folders
        self._master_keys = master_keys
        self._s3_bucket = s3_bucket

    async def __call__(self, delivery: Delivery, *, user_ref: str, email: str, tier: str) -> AccountReply:
        """Run the use-case. ``created`` is true in one answer only: that to the call that completed it.

        Raises:
            InvalidField: the user id or the e-mail address has a form that is not allowed.
            UnknownTier: there is no such tier.
            UserIdTaken: the user id maps to the account of another one.
            StorageUnavailable: the account is there but its folder is not; a repeated call completes it.
        """
        user = User.of(user_ref)
        check_email(email)
        account = await self._once(
            delivery, user, lambda changes: self._insert(changes, user=user, email=email, tier=tier)
        )
        completed = account.folder_created_at is None and await self._complete(account)
        return reply(account, self._master_keys, created=completed)

    async def _insert(self, changes: Changes, *, user: User, email: str, tier: str) -> Payload | None:
        limits = await changes.tier(tier)
        account_id = new_id()
        inserted = await changes.insert(
            account_id=account_id,
            user=user,
            email=email,
            tier=limits,
            credentials=self._master_keys.derive(account_id, version=1),
            s3_bucket=self._s3_bucket,
            s3_prefix=folder_of(account_id),
        )
        if not inserted:
            return None
        return AccountProvisionedV1(account_id=account_id, agentcache_user_id=user.ref, **vars(limits))

    async def _complete(self, account: Account) -> bool:
        """Make the account's folder. True for the one call that is the first to have done so."""
        await self._folders.make(account.s3_prefix)
        return await self._store.mark_folder(account.id)
