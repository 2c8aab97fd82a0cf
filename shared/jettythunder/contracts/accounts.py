"""Accounts: the commands provisioning takes, its replies, and the facts it publishes."""

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from jettythunder.contracts.envelope import Payload

# How long the pair before stays valid after a rotation.
DEFAULT_GRACE_SECONDS = 86_400
LONGEST_GRACE_SECONDS = 30 * 86_400
# The tiers that every installation has.
TIERS = ("free", "starter", "pro", "business", "enterprise")


class ProvisionAccountV1(Payload):
    """Make the account of an AgentCache user, or answer with the one there is."""

    TYPE: ClassVar[str] = "jettythunder.account.provision.v1"

    agentcache_user_id: str = Field(min_length=1, max_length=255)
    agentcache_email: str = Field(min_length=3, max_length=320)
    tier: str

    @property
    def about(self) -> str:
        return self.agentcache_user_id


class ChangeTierV1(Payload):
    """Move an account to another tier, up or down."""

    TYPE: ClassVar[str] = "jettythunder.account.change_tier.v1"

    agentcache_user_id: str = Field(min_length=1, max_length=255)
    tier: str

    @property
    def about(self) -> str:
        return self.agentcache_user_id


class RotateCredentialsV1(Payload):
    """Give an account its next pair of credentials; the old pair stays valid for the grace time."""

    TYPE: ClassVar[str] = "jettythunder.account.rotate_credentials.v1"

    agentcache_user_id: str = Field(min_length=1, max_length=255)
    grace_seconds: int = Field(default=DEFAULT_GRACE_SECONDS, ge=0, le=LONGEST_GRACE_SECONDS)

    @property
    def about(self) -> str:
        return self.agentcache_user_id


class SuspendAccountV1(Payload):
    """Suspend an account: it may do nothing until it is resumed, and its assets stay."""

    TYPE: ClassVar[str] = "jettythunder.account.suspend.v1"

    agentcache_user_id: str = Field(min_length=1, max_length=255)

    @property
    def about(self) -> str:
        return self.agentcache_user_id


class ResumeAccountV1(Payload):
    """End an account's suspension."""

    TYPE: ClassVar[str] = "jettythunder.account.resume.v1"

    agentcache_user_id: str = Field(min_length=1, max_length=255)

    @property
    def about(self) -> str:
        return self.agentcache_user_id


class AccountReply(BaseModel):
    """An account with its credentials. Travels on the caller's private reply queue only."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    outcome: Literal["account"] = "account"
    created: bool
    id: UUID
    agentcache_user_id: str
    agentcache_email: str
    api_key: str
    api_secret: str
    tier: str
    storage_quota_gb: int
    bandwidth_quota_gb: int
    jetty_speed_enabled: bool
    rate_limit_per_minute: int
    max_file_size_mb: int
    s3_bucket: str
    s3_prefix: str
    status: str


class AccountProvisionedV1(Payload):
    """An account came to be."""

    TYPE: ClassVar[str] = "jettythunder.account.provisioned.v1"

    account_id: UUID
    agentcache_user_id: str
    tier: str
    storage_quota_gb: int
    bandwidth_quota_gb: int
    jetty_speed_enabled: bool

    @property
    def about(self) -> str:
        return str(self.account_id)


class AccountTierChangedV1(Payload):
    """An account moved to another tier; its quotas are in force from this moment."""

    TYPE: ClassVar[str] = "jettythunder.account.tier_changed.v1"

    account_id: UUID
    agentcache_user_id: str
    previous_tier: str
    tier: str
    storage_quota_gb: int
    bandwidth_quota_gb: int
    jetty_speed_enabled: bool

    @property
    def about(self) -> str:
        return str(self.account_id)


class AccountCredentialsRotatedV1(Payload):
    """An account has a new pair of credentials. The pair itself is never in an event."""

    TYPE: ClassVar[str] = "jettythunder.account.credentials_rotated.v1"

    account_id: UUID
    credential_version: int

    @property
    def about(self) -> str:
        return str(self.account_id)
