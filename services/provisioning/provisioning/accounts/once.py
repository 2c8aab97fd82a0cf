"""Changing a user's account once for each message, and answering with the account."""

from collections.abc import Awaitable, Callable

from jettythunder import telemetry
from jettythunder.contracts.accounts import AccountReply
from jettythunder.contracts.envelope import Payload
from provisioning.accounts.credentials import MasterKeys
from provisioning.accounts.model import Account, Delivery, User
from provisioning.accounts.store import Changes, Store

log = telemetry.logger(__name__)

Change = Callable[[Changes], Awaitable[Payload | None]]


class OncePerMessage:
    """Has each message change its user's account once.

    Guarantees given here: a repeated message changes nothing and is answered with the account as it is; an
    event is published if, and only if, the change that it reports was committed.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def __call__(self, delivery: Delivery, user: User, change: Change) -> Account:
        """Make the change, publish the event that it returns, and return the account as the change left it.

        A repeated message costs one query.
        """
        account = await self._store.account_after(delivery, user)
        if account is not None:
            return account
        event = None
        async with self._store.changing() as changes:
            if await changes.first_time(delivery):
                event = await change(changes)
                if event is not None:
                    await changes.publish(event)
            # Read in the same transaction: after it the account may be as the next message left it. The
            # status is known only now, because it follows from the quotas.
            account = await changes.account_of(user)
        if event is not None:
            log.info(event.TYPE, **event.model_dump(mode="json"))
        return account


def reply(account: Account, master_keys: MasterKeys, *, created: bool = False) -> AccountReply:
    """The answer to a message: the account with its credentials."""
    credentials = master_keys.credentials_of(account)
    return AccountReply(
        created=created,
        id=account.id,
        agentcache_user_id=account.agentcache_user_ref,
        agentcache_email=account.agentcache_email,
        api_key=credentials.api_key,
        api_secret=credentials.api_secret,
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
