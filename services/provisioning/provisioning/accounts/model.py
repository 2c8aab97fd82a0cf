"""Rules of accounts: whose they are, what a tier gives them, and which of two tier changes holds."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from jettythunder.errors import InvalidField, UnknownTier, UserIdTaken

BYTES_PER_GB = 10**9
LONGEST_USER_REF = 255

# Ids that are no UUID map into this namespace. It must never change: the accounts would not be found again.
USER_REF_NAMESPACE = UUID("cb44ecd4-c60a-4546-8b61-b68884f307b2")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Which message a use-case runs for, and on which consumer's behalf: what makes it run once."""

    consumer: str
    event_id: UUID
    event_time: datetime


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Named limits."""

    tier: str
    storage_quota_gb: int
    bandwidth_quota_gb: int
    jetty_speed_enabled: bool

    @property
    def storage_quota_bytes(self) -> int:
        return self.storage_quota_gb * BYTES_PER_GB

    @property
    def bandwidth_quota_bytes(self) -> int:
        return self.bandwidth_quota_gb * BYTES_PER_GB


@dataclass(frozen=True, kw_only=True)
class Account:
    """A billable tenant, as stored. ``api_secret`` is the secret's digest."""

    id: UUID
    agentcache_user_ref: str
    agentcache_email: str
    agentcache_tier: str
    tier_changed_at: datetime | None
    api_key: str
    api_secret: str
    credential_version: int
    master_key_id: str
    storage_quota_gb: int
    bandwidth_quota_gb: int
    jetty_speed_enabled: bool
    rate_limit_per_minute: int
    max_file_size_mb: int
    s3_bucket_name: str
    s3_prefix: str
    folder_created_at: datetime | None
    status: str


@dataclass(frozen=True, kw_only=True)
class MasterKeyUse:
    """A master key, by its id, and the accounts whose current pair was derived from it.

    Attributes:
        accounts: how many.
        in_grace: how many of them have a pair before which is still valid.
        known_since: when provisioning first started with it; None before that.
    """

    id: str
    accounts: int
    in_grace: int
    known_since: datetime | None


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of AgentCache.

    Attributes:
        ref: the id as AgentCache gave it.
        id: the same as a UUID.
    """

    ref: str
    id: UUID

    @classmethod
    def of(cls, ref: str) -> "User":
        """The user with this id.

        Raises:
            InvalidField: the id is empty or too long, has blanks around it, or holds what can't be printed.
        """
        return cls(ref=ref, id=user_id_of(ref))

    def check_owns(self, account: Account) -> None:
        """Make sure that an account which was found by the UUID was made for this very id.

        A name and the UUID that it maps to are two users, and the second one must not get the first one's
        account. A UUID in capitals is the same user.

        Raises:
            UserIdTaken: the account is another user's.
        """
        if account.agentcache_user_ref.lower() != self.ref.lower():
            raise UserIdTaken


def user_id_of(user_ref: str) -> UUID:
    """The account's user id: a UUID as it is, anything else as a UUIDv5 (RFC 9562) in a fixed namespace.

    A UUID is 36 characters with hyphens, in any case; other spellings are taken as names.

    Raises:
        InvalidField: the id is empty or too long, has blanks around it, or holds what can't be printed.
    """
    if not user_ref or len(user_ref) > LONGEST_USER_REF:
        raise InvalidField(f"The user id must have 1 to {LONGEST_USER_REF} characters.")
    if not user_ref.isprintable():
        raise InvalidField("The user id holds control or other characters that can't be printed.")
    if user_ref != user_ref.strip():
        raise InvalidField("The user id must not begin or end with a blank.")
    if len(user_ref) == 36:
        try:
            given = UUID(user_ref)
        except ValueError:
            return uuid5(USER_REF_NAMESPACE, user_ref)
        if str(given) == user_ref.lower():
            return given
    return uuid5(USER_REF_NAMESPACE, user_ref)


def check_email(email: str) -> None:
    """Refuse what can't be an address; whether mail arrives there is AgentCache's to know.

    Raises:
        InvalidField: it is not of the form name@domain, or holds blanks or what can't be printed.
    """
    name, at, domain = email.rpartition("@")
    if not (name and at and domain) or " " in email or not email.isprintable():
        raise InvalidField("The e-mail address must be of the form name@domain.")


def check_tier_name(tier: str) -> None:
    """Refuse what no tier is called and the database would not take.

    Raises:
        UnknownTier: it is empty or holds what can't be printed.
    """
    if not tier or not tier.isprintable():
        raise UnknownTier


def is_overtaken(account: Account, changed_at: datetime | None) -> bool:
    """Whether a tier change made at ``changed_at`` is older than the one in force. ``None`` means now."""
    newest = account.tier_changed_at
    return changed_at is not None and newest is not None and changed_at < newest
