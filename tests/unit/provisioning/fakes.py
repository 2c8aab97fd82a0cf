"""Accounts in memory, and a bucket that can fail: what the use-cases run on in unit tests."""

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from jettythunder.contracts.envelope import Payload
from jettythunder.errors import AccountNotFound, StorageUnavailable, UnknownTier
from provisioning.accounts.credentials import Credentials, MasterKeys
from provisioning.accounts.model import Account, Delivery, Tier, User
from provisioning.accounts.store import Changes, Store

OLD_KEY = "a master key of thirty-two characters or more"
MASTER_KEYS = MasterKeys({"1": OLD_KEY}, environment="test")
# The ring after a new key was put before the old one.
NEW_RING = MasterKeys({"2": "another master key of thirty-two characters", "1": OLD_KEY}, environment="test")
NOW = datetime(2026, 1, 1, tzinfo=UTC)

TIERS = {
    tier.tier: tier
    for tier in (
        Tier(tier="free", storage_quota_gb=0, bandwidth_quota_gb=0, jetty_speed_enabled=False),
        Tier(tier="starter", storage_quota_gb=2, bandwidth_quota_gb=10, jetty_speed_enabled=False),
        Tier(tier="pro", storage_quota_gb=20, bandwidth_quota_gb=50, jetty_speed_enabled=True),
    )
}


def delivery() -> Delivery:
    """A message that was not seen before."""
    return Delivery(consumer="tests", event_id=uuid4(), event_time=datetime.now(UTC))


def made_account(user_ref: str, *, tier: str) -> Account:
    """An account as it is stored, without its folder."""
    account_id = uuid4()
    return _account(account_id, user_ref, TIERS[tier], MASTER_KEYS.derive(account_id, version=1))


@dataclass
class State:
    """What a database would hold. ``used_bytes`` is what each account stores, by its id."""

    accounts: dict[UUID, Account] = field(default_factory=dict)
    processed: set[Delivery] = field(default_factory=set)
    events: list[Payload] = field(default_factory=list)
    used_bytes: dict[UUID, int] = field(default_factory=dict)
    quota_bytes: dict[UUID, int] = field(default_factory=dict)
    locks: list[str] = field(default_factory=list)
    in_grace: set[UUID] = field(default_factory=set)
    fingerprints: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "State":
        return State(
            dict(self.accounts),
            set(self.processed),
            list(self.events),
            dict(self.used_bytes),
            dict(self.quota_bytes),
            list(self.locks),
            set(self.in_grace),
            dict(self.fingerprints),
        )


class FakeChanges(Changes):
    """Changes to a copy of the state."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def first_time(self, delivery: Delivery) -> bool:
        is_new = delivery not in self._state.processed
        self._state.processed.add(delivery)
        return is_new

    async def publish(self, event: Payload) -> None:
        self._state.events.append(event)

    async def tier(self, name: str) -> Tier:
        if name not in TIERS:
            raise UnknownTier
        return TIERS[name]

    async def account_of(self, user: User) -> Account:
        if user.id not in self._state.accounts:
            raise AccountNotFound
        account = self._state.accounts[user.id]
        user.check_owns(account)
        return account

    async def lock_account_of(self, user: User) -> Account:
        self._state.locks.append("account")
        return await self.account_of(user)

    async def lock_usage_of(self, user: User) -> Account:
        self._state.locks.append("usage")
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
        if user.id in self._state.accounts:
            return False
        made = _account(account_id, user.ref, tier, credentials)
        self._state.accounts[user.id] = replace(
            made, agentcache_email=email, s3_bucket_name=s3_bucket, s3_prefix=s3_prefix
        )
        self._note_quotas(account_id, tier)
        return True

    async def set_tier(self, account_id: UUID, tier: Tier) -> None:
        self._change(
            account_id,
            agentcache_tier=tier.tier,
            storage_quota_gb=tier.storage_quota_gb,
            bandwidth_quota_gb=tier.bandwidth_quota_gb,
            jetty_speed_enabled=tier.jetty_speed_enabled,
        )
        self._note_quotas(account_id, tier)

    async def note_tier_change(self, account_id: UUID, *, changed_at: datetime | None) -> None:
        self._change(account_id, tier_changed_at=changed_at or NOW)

    async def set_credentials(
        self, account_id: UUID, credentials: Credentials, *, version: int, grace_seconds: int
    ) -> None:
        self._change(
            account_id,
            credential_version=version,
            api_key=credentials.api_key,
            api_secret=credentials.secret_digest,
            master_key_id=credentials.master_key_id,
        )
        if grace_seconds:
            self._state.in_grace.add(account_id)

    async def set_suspended(self, account_id: UUID, *, suspended: bool) -> None:
        self._change(account_id, status="suspended" if suspended else "active")

    def _note_quotas(self, account_id: UUID, tier: Tier) -> None:
        self._state.quota_bytes[account_id] = tier.storage_quota_bytes
        used_bytes = self._state.used_bytes.get(account_id, 0)
        used_up = used_bytes > 0 and used_bytes >= tier.storage_quota_bytes
        self._change(account_id, status="over_quota" if used_up else "active")

    def _change(self, account_id: UUID, **columns: object) -> None:
        for user_id, account in self._state.accounts.items():
            if account.id == account_id:
                self._state.accounts[user_id] = replace(account, **columns)  # type: ignore[arg-type]


class FakeStore(Store):
    """Transactions on a state in memory."""

    def __init__(self, *accounts: Account) -> None:
        self.state = State()
        for account in accounts:
            self.state.accounts[User.of(account.agentcache_user_ref).id] = account

    @contextlib.asynccontextmanager
    async def changing(self) -> AsyncIterator[Changes]:
        changed = self.state.copy()
        yield FakeChanges(changed)
        self.state = changed

    async def account_after(self, delivery: Delivery, user: User) -> Account | None:
        # As in the database: of a deleted account nothing is found.
        if delivery not in self.state.processed or user.id not in self.state.accounts:
            return None
        return await FakeChanges(self.state).account_of(user)

    async def account_of_each_master_key(self) -> list[Account]:
        return list({each.master_key_id: each for each in self.state.accounts.values()}.values())

    async def note_master_key(self, key_id: str, *, fingerprint: str) -> str:
        return self.state.fingerprints.setdefault(key_id, fingerprint)

    async def users_to_move(
        self, master_key_ids: Sequence[str], *, also_in_grace: bool, limit: int
    ) -> list[str]:
        found = [
            each.agentcache_user_ref
            for each in self.state.accounts.values()
            if each.master_key_id in master_key_ids and (also_in_grace or each.id not in self.state.in_grace)
        ]
        return found[:limit]

    async def mark_folder(self, account_id: UUID) -> bool:
        for user_id, account in self.state.accounts.items():
            if account.id == account_id and account.folder_created_at is None:
                self.state.accounts[user_id] = replace(account, folder_created_at=NOW)
                return True
        return False


@dataclass
class FakeBucket:
    """A bucket that notes which objects it took, and can refuse them."""

    keys: list[str] = field(default_factory=list)
    fails: bool = False

    async def put(self, key: str, body: bytes, *, content_type: str) -> None:
        if self.fails:
            raise StorageUnavailable
        self.keys.append(key)


def _account(account_id: UUID, user_ref: str, tier: Tier, credentials: Credentials) -> Account:
    return Account(
        id=account_id,
        agentcache_user_ref=user_ref,
        agentcache_email="test@example.com",
        agentcache_tier=tier.tier,
        tier_changed_at=None,
        api_key=credentials.api_key,
        api_secret=credentials.secret_digest,
        credential_version=1,
        master_key_id=credentials.master_key_id,
        storage_quota_gb=tier.storage_quota_gb,
        bandwidth_quota_gb=tier.bandwidth_quota_gb,
        jetty_speed_enabled=tier.jetty_speed_enabled,
        rate_limit_per_minute=60,
        max_file_size_mb=50,
        s3_bucket_name="bucket",
        s3_prefix=f"accounts/{account_id}/",
        folder_created_at=None,
        status="active",
    )
