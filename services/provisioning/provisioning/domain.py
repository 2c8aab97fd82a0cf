"""Rules of accounts: whose they are, what their credentials must be, and what a tier makes of them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from jettythunder import auth
from jettythunder.errors import ConfigurationError, InvalidField, UnknownTier

BYTES_PER_GB = 10**9
LONGEST_USER_REF = 255

# Ids that are no UUID map into this namespace. It must never change: the accounts would not be found again.
USER_REF_NAMESPACE = UUID("cb44ecd4-c60a-4546-8b61-b68884f307b2")


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """Which message a use-case runs for, and on which consumer's behalf: what makes it run once."""

    consumer: str
    event_id: UUID


@dataclass(frozen=True, kw_only=True)
class Tier:
    """Named limits."""

    tier: str
    storage_quota_gb: int
    bandwidth_quota_gb: int
    jetty_speed_enabled: bool


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What an account uses: bytes stored, and bytes sent in the period that runs."""

    storage_used_bytes: int
    bandwidth_used_bytes: int


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
class Credentials:
    """A key and its secret. Never logged, never stored, never in an event."""

    api_key: str
    api_secret: str

    @classmethod
    def derive(cls, master_key: str, *, account_id: UUID, version: int, environment: str) -> "Credentials":
        """The pair of an account's credential version: the same arguments always give the same pair."""
        key, secret = auth.credentials(
            master_key, account_id=account_id, version=version, environment=environment
        )
        return cls(api_key=key, api_secret=secret)

    @property
    def secret_digest(self) -> str:
        """What is stored of the secret."""
        return auth.secret_digest(self.api_secret)

    def __repr__(self) -> str:
        return "Credentials(…)"


def credentials_of(account: Account, master_key: str) -> Credentials:
    """Derive an existing account's pair, in the environment its key was made for.

    Raises:
        ConfigurationError: the master key is not the one the account's pair was derived from. Handing out
            the derived pair would hand out one that opens nothing.
    """
    derived = Credentials.derive(
        master_key,
        account_id=account.id,
        version=account.credential_version,
        environment=account.api_key.split("_")[1],
    )
    same_key = auth.matches(derived.api_key, account.api_key)
    if not (auth.matches(derived.secret_digest, account.api_secret) and same_key):
        raise ConfigurationError(
            "JETTYTHUNDER_MASTER_KEY is not the key that the stored credentials were derived from: "
            "set the original one and start again."
        )
    return derived


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


def status_in_tier(status: str, usage: Usage, tier: Tier) -> str:
    """An account's status after a move to ``tier``: a suspension stays, else what is used decides.

    A quota is used up when use reaches it, as usage-meter judges it; an account that uses nothing has used
    up nothing, also where its quota is 0.
    """
    if status == "suspended":
        return status
    used_up = _reaches(usage.storage_used_bytes, tier.storage_quota_gb) or _reaches(
        usage.bandwidth_used_bytes, tier.bandwidth_quota_gb
    )
    return "over_quota" if used_up else "active"


def _reaches(used_bytes: int, quota_gb: int) -> bool:
    return used_bytes > 0 and used_bytes >= quota_gb * BYTES_PER_GB


def is_overtaken(account: Account, changed_at: datetime | None) -> bool:
    """Whether a tier change made at ``changed_at`` is older than the one in force. ``None`` means now."""
    newest = account.tier_changed_at
    return changed_at is not None and newest is not None and changed_at < newest
