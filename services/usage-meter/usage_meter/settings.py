"""The usage-meter's settings."""

from typing import Annotated

from pydantic import Field, HttpUrl, SecretStr, ValidationInfo, field_validator

from jettythunder.plaintext import NetworkAddress
from jettythunder.settings import ServiceSettings, StorageSettings
from usage_meter.webhooks.secret import signing_key


class Settings(ServiceSettings, StorageSettings):
    """What the usage-meter needs from the environment."""

    # Reconciliation holds one for its lock while it works on another, and events are booked beside it.
    database_pool_size: int = Field(default=10, ge=3, description="Connections to the database at most")
    usage_meter_batch_size: int = Field(default=1000, ge=1, description="Events booked in one transaction")
    usage_meter_linger_seconds: float = Field(
        default=0.05, ge=0, description="How long the first event of a batch waits for others"
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
        default=86_400, gt=0, description="How often bucket, assets, ledger, counters and hours are compared"
    )
    usage_reconcile_settle_seconds: float = Field(
        default=30, ge=0, description="Between the two looks of a reconciliation that mends"
    )
    agentcache_webhook_url: Annotated[HttpUrl | None, NetworkAddress] = Field(
        default=None, description="Where AgentCache takes webhooks about quotas; without it none are sent"
    )
    agentcache_webhook_secret: SecretStr | None = Field(
        default=None,
        validate_default=True,
        description="What webhooks are signed with: text of 16 bytes or more, or whsec_ and base64 of them",
    )

    @field_validator("agentcache_webhook_secret")
    @classmethod
    def _webhooks_are_signed(cls, secret: SecretStr | None, given: ValidationInfo) -> SecretStr | None:
        if secret is not None:
            signing_key(secret.get_secret_value())
        elif given.data.get("agentcache_webhook_url") is not None:
            raise ValueError("AGENTCACHE_WEBHOOK_URL is set, so what is sent there must be signed")
        return secret

    @property
    def webhook_key(self) -> bytes:
        """What webhooks are signed with; empty where none are sent."""
        secret = self.agentcache_webhook_secret
        return signing_key(secret.get_secret_value()) if secret is not None else b""
