"""Provisioning's use-cases. Each owns its transaction, and may be repeated at any time."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from uuid import UUID, uuid4

from jettythunder import folders, outbox, telemetry
from jettythunder.contracts.accounts import (
    AccountCredentialsRotatedV1,
    AccountProvisionedV1,
    AccountReply,
    AccountTierChangedV1,
)
from jettythunder.contracts.envelope import Payload
from jettythunder.database import Connection, Pool
from jettythunder.errors import AccountNotFound, StorageUnavailable, UnknownTier
from jettythunder.outbox import inbox
from jettythunder.storage import ObjectMissing, Storage
from provisioning import domain
from provisioning.domain import Account, Credentials, Delivery, Tier
from provisioning.repository import Repository

log = telemetry.logger(__name__)

_SOURCE = "/provisioning"
# Short, because a caller waits for the answer, and a repeated call completes what this one could not.
_FOLDER_SECONDS = 4.0


class Provisioning:
    """Makes accounts, moves them between tiers and rotates their credentials.

    Guarantees given here: a user has one account and one pair of credentials, however many calls ask for
    them at once; each message has its effect once, and a repeated one is answered with the account as it
    is; an event is published if, and only if, the change it tells of was committed.
    """

    def __init__(
        self, pool: Pool, repository: Repository, storage: Storage, *, master_key: str, environment: str
    ) -> None:
        self._pool = pool
        self._repository = repository
        self._storage = storage
        self._master_key = master_key
        self._environment = environment
        self._folders: dict[UUID, asyncio.Task[None]] = {}

    async def check_master_key(self) -> None:
        """Refuse to run with a master key that the stored credentials were not derived from.

        Raises:
            ConfigurationError: the key is another one.
        """
        async with self._pool.acquire() as connection:
            user_id = await self._repository.fetch_newest_user_id(connection)
            if user_id is not None:
                domain.credentials_of(await self._account(connection, user_id), self._master_key)

    async def provision(self, delivery: Delivery, *, user_ref: str, email: str, tier: str) -> AccountReply:
        """Make the account of a user where there is none, and answer with the account as it is.

        ``created`` is true in one answer only: that of the call that completed the account.

        Raises:
            InvalidField: the user id or the e-mail address has a form that is not allowed.
            UnknownTier: there is no such tier.
            StorageUnavailable: the account is there but its folder is not; a repeated call completes it.
        """
        user_id = domain.user_id_of(user_ref)
        domain.check_email(email)

        async def make(connection: Connection) -> None:
            limits = await self._tier(connection, tier)
            await self._insert(connection, user_id=user_id, user_ref=user_ref, email=email, tier=limits)

        account = await self._once(delivery, user_id, make)
        completed = account.folder_created_at is None and await self._make_folder(account)
        return self._reply(account, created=completed)

    async def change_tier(
        self, delivery: Delivery, *, user_ref: str, tier: str, changed_at: datetime | None = None
    ) -> AccountReply:
        """Move an account to another tier, up or down, with its quotas in force at once.

        Args:
            changed_at: when the change was made elsewhere. One that is older than the change in force has
                no effect, so events may arrive in any order. None means now.

        Raises:
            InvalidField: the user id has a form that is not allowed.
            UnknownTier: there is no such tier.
            AccountNotFound: the user has no account.
        """
        user_id = domain.user_id_of(user_ref)

        async def move(connection: Connection) -> None:
            limits = await self._tier(connection, tier)
            await self._move(connection, user_id, limits, changed_at=changed_at)

        return self._reply(await self._once(delivery, user_id, move), created=False)

    async def rotate_credentials(
        self, delivery: Delivery, *, user_ref: str, grace_seconds: int
    ) -> AccountReply:
        """Give an account its next pair of credentials; the pair before stays valid for ``grace_seconds``.

        Raises:
            InvalidField: the user id has a form that is not allowed.
            AccountNotFound: the user has no account.
        """
        user_id = domain.user_id_of(user_ref)

        async def rotate(connection: Connection) -> None:
            await self._rotate(connection, user_id, grace_seconds=grace_seconds)

        return self._reply(await self._once(delivery, user_id, rotate), created=False)

    async def _insert(
        self, connection: Connection, *, user_id: UUID, user_ref: str, email: str, tier: Tier
    ) -> None:
        account_id = uuid4()
        inserted = await self._repository.insert_account(
            connection,
            account_id=account_id,
            user_id=user_id,
            user_ref=user_ref,
            email=email,
            tier=tier,
            credentials=self._derive(account_id, version=1),
            s3_bucket=self._storage.bucket,
            s3_prefix=folders.folder_of(account_id),
        )
        if inserted:
            provisioned = AccountProvisionedV1(
                account_id=account_id, agentcache_user_id=user_ref, **vars(tier)
            )
            await self._tell(connection, provisioned)

    async def _make_folder(self, account: Account) -> bool:
        """See to the folder's object. True for the one call that is first to have done so."""
        # Many calls for one new account put its folder once, so that they don't stand in each other's way.
        making = self._folders.get(account.id)
        if making is None:
            making = self._folders[account.id] = asyncio.create_task(self._put_folder(account.s3_prefix))
            making.add_done_callback(lambda _: self._folders.pop(account.id))
        await asyncio.shield(making)
        async with self._pool.acquire() as connection:
            return await self._repository.mark_folder(connection, account.id)

    async def _put_folder(self, key: str) -> None:
        try:
            async with asyncio.timeout(_FOLDER_SECONDS):
                await self._storage.put(key, b"", content_type="application/x-directory")
        except (ObjectMissing, StorageUnavailable, TimeoutError) as error:
            raise StorageUnavailable(
                "The object storage did not take the account's folder. Repeat the call to complete it."
            ) from error

    async def _move(
        self, connection: Connection, user_id: UUID, tier: Tier, *, changed_at: datetime | None
    ) -> None:
        # Reservations and triggers lock the usage row first and the account second; so does this.
        usage = await self._repository.lock_usage(connection, user_id)
        if usage is None:
            raise AccountNotFound
        account = await self._account(connection, user_id)
        if domain.is_overtaken(account, changed_at):
            return
        # Noted also where the tier stays: an older change that comes later must not undo this one.
        await self._repository.note_tier_change(connection, account_id=account.id, changed_at=changed_at)
        if tier.tier == account.agentcache_tier:
            return
        status = domain.status_in_tier(account.status, usage, tier)
        await self._repository.update_tier(connection, account_id=account.id, tier=tier, status=status)
        changed = AccountTierChangedV1(
            account_id=account.id,
            agentcache_user_id=account.agentcache_user_ref,
            previous_tier=account.agentcache_tier,
            **vars(tier),
        )
        await self._tell(connection, changed)

    async def _rotate(self, connection: Connection, user_id: UUID, *, grace_seconds: int) -> None:
        if not await self._repository.lock_account(connection, user_id):
            raise AccountNotFound
        account = await self._account(connection, user_id)
        version = account.credential_version + 1
        await self._repository.update_credentials(
            connection,
            account_id=account.id,
            version=version,
            credentials=self._derive(account.id, version=version),
            grace_seconds=grace_seconds,
        )
        await self._tell(
            connection, AccountCredentialsRotatedV1(account_id=account.id, credential_version=version)
        )

    def _derive(self, account_id: UUID, *, version: int) -> Credentials:
        return Credentials.derive(
            self._master_key, account_id=account_id, version=version, environment=self._environment
        )

    async def _tell(self, connection: Connection, event: Payload) -> None:
        await outbox.write(connection, event, source=_SOURCE)
        log.info(event.TYPE, **event.model_dump(mode="json"))

    async def _once(
        self, delivery: Delivery, user_id: UUID, effect: Callable[[Connection], Awaitable[None]]
    ) -> Account:
        """Let a message have its effect once, and give the account.

        A message that has had it costs one look. The account is read in the effect's transaction: read after
        it, it may be as the next message left it.
        """
        async with self._pool.acquire() as connection:
            account = await self._repository.fetch_account_after(connection, user_id, delivery)
            if account is not None:
                inbox.count_repeated(delivery.consumer)
                return account
            async with connection.transaction():
                if await inbox.first_time(connection, consumer=delivery.consumer, event_id=delivery.event_id):
                    await effect(connection)
                return await self._account(connection, user_id)

    async def _tier(self, connection: Connection, name: str) -> Tier:
        domain.check_tier_name(name)
        tier = await self._repository.fetch_tier(connection, name)
        if tier is None:
            raise UnknownTier
        return tier

    async def _account(self, connection: Connection, user_id: UUID) -> Account:
        account = await self._repository.fetch_account(connection, user_id)
        if account is None:
            raise AccountNotFound
        return account

    def _reply(self, account: Account, *, created: bool) -> AccountReply:
        pair = domain.credentials_of(account, self._master_key)
        return AccountReply(
            created=created,
            id=account.id,
            agentcache_user_id=account.agentcache_user_ref,
            agentcache_email=account.agentcache_email,
            api_key=pair.api_key,
            api_secret=pair.api_secret,
            tier=account.agentcache_tier,
            storage_quota_gb=account.storage_quota_gb,
            bandwidth_quota_gb=account.bandwidth_quota_gb,
            jetty_speed_enabled=account.jetty_speed_enabled,
            rate_limit_per_minute=account.rate_limit_per_minute,
            max_file_size_mb=account.max_file_size_mb,
            s3_bucket=account.s3_bucket_name,
            s3_prefix=account.s3_prefix,
            status=account.status,
        )
