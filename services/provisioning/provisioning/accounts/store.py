"""Accounts and tiers in PostgreSQL."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

from jettythunder import outbox
from jettythunder.contracts.envelope import Payload
from jettythunder.database import Connection, Database, Queries
from jettythunder.errors import AccountNotFound, UnknownTier
from jettythunder.outbox import inbox
from provisioning.accounts.credentials import Credentials
from provisioning.accounts.model import Account, Delivery, MasterKeyUse, Tier, User, check_tier_name

SOURCE = "/provisioning"

_queries = Queries("provisioning.accounts")
_fetch_tier = _queries.maybe("fetch_tier", Tier)
_insert_account = _queries.maybe("insert_account", bool)
_fetch_account = _queries.maybe("fetch_account", Account)
_fetch_account_after = _queries.maybe("fetch_account_after", Account)
_fetch_account_of_each_master_key = _queries.all("fetch_account_of_each_master_key", Account)
_note_master_key = _queries.one("note_master_key", str)
_master_key_uses = _queries.all("master_key_uses", MasterKeyUse)
_users_to_move = _queries.all("users_to_move", str)
_mark_folder = _queries.maybe("mark_folder", bool)
_set_quotas = _queries.run("set_quotas")
_lock_usage = _queries.maybe("lock_usage", bool)
_update_tier = _queries.run("update_tier")
_note_tier_change = _queries.run("note_tier_change")
_lock_account = _queries.maybe("lock_account", UUID)
_update_credentials = _queries.run("update_credentials")
_set_suspended = _queries.run("set_suspended")


class Changes:
    """Changes to accounts in one transaction."""

    def __init__(self, on: Connection) -> None:
        self._on = on

    async def first_time(self, delivery: Delivery) -> bool:
        """Whether this message has not been processed yet; it counts as processed from here on.

        Raises:
            EventTooOld: it may have been processed before.
        """
        return await inbox.first_time(self._on, **vars(delivery))

    async def publish(self, event: Payload) -> None:
        """Have an event published if, and only if, the changes are committed."""
        await outbox.write(self._on, event, source=SOURCE)

    async def tier(self, name: str) -> Tier:
        """A tier's limits.

        Raises:
            UnknownTier: there is no such tier.
        """
        check_tier_name(name)
        found = await _fetch_tier(self._on, tier=name)
        if found is None:
            raise UnknownTier
        return found

    async def account_of(self, user: User) -> Account:
        """A user's account.

        Raises:
            AccountNotFound: the user has none.
            UserIdTaken: the account with this id is another user's.
        """
        found = await _fetch_account(self._on, agentcache_user_id=user.id)
        if found is None:
            raise AccountNotFound
        user.check_owns(found)
        return found

    async def lock_account_of(self, user: User) -> Account:
        """A user's account, locked.

        Raises:
            AccountNotFound, UserIdTaken: as for :meth:`account_of`.
        """
        await _lock_account(self._on, agentcache_user_id=user.id)
        return await self.account_of(user)

    async def lock_usage_of(self, user: User) -> Account:
        """A user's account, with what it uses locked, for changing its quotas.

        Raises:
            AccountNotFound, UserIdTaken: as for :meth:`account_of`.
        """
        await _lock_usage(self._on, agentcache_user_id=user.id)
        return await self.account_of(user)

    async def insert(
        self,
        *,
        account_id: UUID,
        user: User,
        email: str,
        tier: Tier,
        credentials: Credentials,
        s3_bucket: str,
        s3_prefix: str,
    ) -> bool:
        """Make an account, with its quotas in force. False where the user has one already."""
        inserted = await _insert_account(
            self._on,
            id=account_id,
            agentcache_user_id=user.id,
            agentcache_user_ref=user.ref,
            agentcache_email=email,
            api_key=credentials.api_key,
            api_secret=credentials.secret_digest,
            master_key_id=credentials.master_key_id,
            s3_bucket_name=s3_bucket,
            s3_prefix=s3_prefix,
            **vars(tier),
        )
        if inserted:
            await self._put_in_force(account_id, tier)
        return bool(inserted)

    async def set_tier(self, account_id: UUID, tier: Tier) -> None:
        """Put an account into another tier, with its quotas in force at once."""
        await _update_tier(self._on, account_id=account_id, **vars(tier))
        await self._put_in_force(account_id, tier)

    async def note_tier_change(self, account_id: UUID, *, changed_at: datetime | None) -> None:
        """Note when the newest tier change was made; None is now."""
        await _note_tier_change(self._on, account_id=account_id, changed_at=changed_at)

    async def set_credentials(
        self, account_id: UUID, credentials: Credentials, *, version: int, grace_seconds: int
    ) -> None:
        """Give an account its next pair; the one before stays valid for ``grace_seconds``."""
        await _update_credentials(
            self._on,
            account_id=account_id,
            version=version,
            api_key=credentials.api_key,
            api_secret=credentials.secret_digest,
            master_key_id=credentials.master_key_id,
            grace_seconds=grace_seconds,
        )

    async def set_suspended(self, account_id: UUID, *, suspended: bool) -> None:
        """Suspend an account, or end its suspension."""
        await _set_suspended(self._on, account_id=account_id, suspended=suspended)

    async def _put_in_force(self, account_id: UUID, tier: Tier) -> None:
        await _set_quotas(
            self._on,
            account_id=account_id,
            storage_quota_bytes=tier.storage_quota_bytes,
            bandwidth_quota_bytes=tier.bandwidth_quota_bytes,
        )


class Store:
    """Reads accounts, and changes them in transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[Changes]:
        """Changes that are committed at the end, or rolled back by an error."""
        async with self._database.transaction() as connection:
            yield Changes(connection)

    async def account_after(self, delivery: Delivery, user: User) -> Account | None:
        """A user's account, where the message was processed already.

        Raises:
            UserIdTaken: the account with this id is another user's.
        """
        found = await _fetch_account_after(
            self._database,
            agentcache_user_id=user.id,
            consumer=delivery.consumer,
            event_id=delivery.event_id,
        )
        if found is not None:
            user.check_owns(found)
            inbox.count_repeated(delivery.consumer)
        return found

    async def account_of_each_master_key(self) -> list[Account]:
        """An account of each master key that accounts' pairs were derived from."""
        return await _fetch_account_of_each_master_key(self._database)

    async def note_master_key(self, key_id: str, *, fingerprint: str) -> str:
        """The fingerprint of the key that was first started with under this id: this one, where it is new."""
        return await _note_master_key(self._database, id=key_id, fingerprint=fingerprint)

    async def master_key_uses(self) -> list[MasterKeyUse]:
        """How many accounts each master key has, the oldest key first."""
        return await _master_key_uses(self._database)

    async def users_to_move(
        self, master_key_ids: Sequence[str], *, also_in_grace: bool, limit: int
    ) -> list[str]:
        """Users whose accounts' pairs were derived from one of these keys.

        Args:
            also_in_grace: also those whose pair before is still valid.
        """
        return await _users_to_move(
            self._database, master_key_ids=list(master_key_ids), also_in_grace=also_in_grace, limit=limit
        )

    async def mark_folder(self, account_id: UUID) -> bool:
        """Note that an account's folder is there. True for one caller only."""
        return bool(await _mark_folder(self._database, account_id=account_id))
