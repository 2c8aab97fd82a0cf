"""Accounts and tiers in PostgreSQL: one method per query of queries.sql, in the caller's transaction."""

from datetime import datetime
from uuid import UUID

from jettythunder.database import Connection, queries
from provisioning.domain import Account, Credentials, Delivery, Tier, Usage


class Repository:
    """Reads and writes what provisioning owns."""

    def __init__(self) -> None:
        self._queries = queries("provisioning")

    async def fetch_tier(self, connection: Connection, tier: str) -> Tier | None:
        """A tier's limits."""
        row = await self._queries.fetch_tier(connection, tier=tier)
        return Tier(**row) if row is not None else None

    async def insert_account(
        self,
        connection: Connection,
        *,
        account_id: UUID,
        user_id: UUID,
        user_ref: str,
        email: str,
        tier: Tier,
        credentials: Credentials,
        s3_bucket: str,
        s3_prefix: str,
    ) -> bool:
        """Make an account. False where the user has one already."""
        inserted = await self._queries.insert_account(
            connection,
            id=account_id,
            agentcache_user_id=user_id,
            agentcache_user_ref=user_ref,
            agentcache_email=email,
            api_key=credentials.api_key,
            api_secret=credentials.secret_digest,
            s3_bucket_name=s3_bucket,
            s3_prefix=s3_prefix,
            **vars(tier),
        )
        return bool(inserted)

    async def fetch_account(self, connection: Connection, user_id: UUID) -> Account | None:
        """A user's account."""
        row = await self._queries.fetch_account(connection, agentcache_user_id=user_id)
        return Account(**row) if row is not None else None

    async def fetch_account_after(
        self, connection: Connection, user_id: UUID, delivery: Delivery
    ) -> Account | None:
        """A user's account, if the message was processed already."""
        row = await self._queries.fetch_account_after(
            connection, agentcache_user_id=user_id, consumer=delivery.consumer, event_id=delivery.event_id
        )
        return Account(**row) if row is not None else None

    async def fetch_newest_user_id(self, connection: Connection) -> UUID | None:
        """The user whose account was made last."""
        found: UUID | None = await self._queries.fetch_newest_user_id(connection)
        return found

    async def mark_folder(self, connection: Connection, account_id: UUID) -> bool:
        """Note that the folder is there. True for one caller only."""
        return bool(await self._queries.mark_folder(connection, account_id=account_id))

    async def lock_usage(self, connection: Connection, user_id: UUID) -> Usage | None:
        """What a user uses, locked until the transaction ends; None where there is no account."""
        row = await self._queries.lock_usage(connection, agentcache_user_id=user_id)
        return Usage(**row) if row is not None else None

    async def update_tier(self, connection: Connection, *, account_id: UUID, tier: Tier, status: str) -> None:
        """Put an account into another tier."""
        await self._queries.update_tier(connection, account_id=account_id, status=status, **vars(tier))

    async def note_tier_change(
        self, connection: Connection, *, account_id: UUID, changed_at: datetime | None
    ) -> None:
        """Note when the newest tier change was made; None is now."""
        await self._queries.note_tier_change(connection, account_id=account_id, changed_at=changed_at)

    async def lock_account(self, connection: Connection, user_id: UUID) -> bool:
        """Lock a user's account until the transaction ends. False where there is none."""
        return await self._queries.lock_account(connection, agentcache_user_id=user_id) is not None

    async def update_credentials(
        self,
        connection: Connection,
        *,
        account_id: UUID,
        version: int,
        credentials: Credentials,
        grace_seconds: int,
    ) -> None:
        """Give an account its next pair; the one before stays valid for ``grace_seconds``."""
        await self._queries.update_credentials(
            connection,
            account_id=account_id,
            version=version,
            api_key=credentials.api_key,
            api_secret=credentials.secret_digest,
            grace_seconds=grace_seconds,
        )
