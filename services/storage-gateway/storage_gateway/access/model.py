"""Who calls: an account and its limits."""

from dataclasses import dataclass
from uuid import UUID

from jettythunder.units import GIGABYTE, MEGABYTE


@dataclass(frozen=True)
class Tenant:
    """An authenticated account and its limits. Links and tokens that it gets carry its ``epoch``."""

    account_id: UUID
    agentcache_user_ref: str
    tier: str
    status: str
    epoch: int
    s3_prefix: str
    jetty_speed_enabled: bool
    storage_quota_gb: int
    bandwidth_quota_gb: int
    max_file_size_mb: int
    rate_limit_per_minute: int

    @property
    def storage_quota_bytes(self) -> int:
        return self.storage_quota_gb * GIGABYTE

    @property
    def max_file_size_bytes(self) -> int:
        return self.max_file_size_mb * MEGABYTE


@dataclass(frozen=True)
class Taken:
    """A request counted against a limit; ``reset_seconds`` is until all of the limit is available again."""

    allowed: bool
    remaining: int
    reset_seconds: float


@dataclass(frozen=True)
class LinkOwner:
    """The account behind a signed link."""

    account_id: UUID
    status: str
    epoch: int
    rate_limit_per_minute: int
