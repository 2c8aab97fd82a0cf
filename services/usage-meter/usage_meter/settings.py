"""The usage-meter's settings."""

from typing import Annotated

from pydantic import BeforeValidator, Field, HttpUrl, SecretBytes, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from jettythunder.plaintext import NetworkAddress
from jettythunder.secrets import split
from jettythunder.settings import ServiceSettings, StorageSettings
from usage_meter.webhooks.secret import SigningKey


class Settings(ServiceSettings, StorageSettings):
    """What the usage-meter needs from the environment."""

    # Reconciliation holds one for its lock while it works on another, and events are booked beside it.
    database_pool_size: int = Field(default=10, ge=3, description="Connections to the database at most")
    usage_meter_batch_size: int = Field(default=2000, ge=1, description="Events booked in one transaction")
    usage_meter_linger_seconds: float = Field(
        default=0.05,
        ge=0,
        description="How long a batch's first event waits for others; five times as long while several come",
    )
    usage_thresholds_percent: tuple[int, ...] = Field(
        default=(80, 95, 100), description="Shares of a quota whose crossing is announced"
    )
    usage_rollup_seconds: float = Field(default=1, gt=0, description="How often recent hours are rolled up")
    usage_late_rollup_seconds: float = Field(
        default=15, gt=0, description="How often late events are rolled up"
    )
    usage_close_after_seconds: float = Field(
        default=300, ge=0, description="How long after its end an hour is closed and published"
    )
    usage_close_seconds: float = Field(default=5, gt=0, description="How often up to 500 hours are closed")
    usage_sweep_seconds: float = Field(
        default=30, gt=0, description="How often expired reservations are released"
    )
    usage_reconcile_seconds: float = Field(
        default=86_400,
        gt=0,
        description="How often bucket, assets, ledger, counters and hours are compared, of accounts that "
        "changed or drift and of a part of all",
    )
    usage_reconcile_all_days: float = Field(
        default=30, gt=0, description="In how many days every account is compared, also where nothing changes"
    )
    usage_reconcile_settle_seconds: float = Field(
        default=30, ge=0, description="Between the two looks of a reconciliation that mends"
    )
    agentcache_webhook_url: Annotated[HttpUrl | None, NetworkAddress] = Field(
        default=None, description="Where AgentCache takes webhooks about quotas; without it none are sent"
    )
    agentcache_webhook_secrets: Annotated[
        tuple[SigningKey, ...], NoDecode, BeforeValidator(split), Field(max_length=2)
    ] = Field(
        default=(),
        description="What webhooks are signed with: one, or two separated by a comma during a rotation; each "
        "is text of 16 bytes or more, or whsec_ and base64 of them",
    )
    agentcache_webhook_secret: SigningKey | None = Field(
        default=None,
        validate_default=True,
        description="What webhooks are signed with, where AGENTCACHE_WEBHOOK_SECRETS is not set",
    )

    @field_validator("agentcache_webhook_secret")
    @classmethod
    def _webhooks_are_signed(cls, key: SecretBytes | None, given: ValidationInfo) -> SecretBytes | None:
        is_sending = given.data.get("agentcache_webhook_url") is not None
        if is_sending and not (key or given.data.get("agentcache_webhook_secrets", True)):
            raise ValueError("AGENTCACHE_WEBHOOK_URL is set, so what is sent there must be signed")
        return key

    @property
    def webhook_keys(self) -> tuple[bytes, ...]:
        """What webhooks are signed with, the new key first; empty where none are sent."""
        alone = (self.agentcache_webhook_secret,) if self.agentcache_webhook_secret else ()
        return tuple(key.get_secret_value() for key in self.agentcache_webhook_secrets or alone)
