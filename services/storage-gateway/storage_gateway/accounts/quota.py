"""What an account has used and what is left: bytes are the truth, GB (10^9 bytes) are shown."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jettythunder.units import GIGABYTE

WARNING_PERCENT = 80


@dataclass(frozen=True)
class Counters:
    """An account's tier, and its counters in the period that runs. Sizes are in bytes."""

    tier: str
    status: str
    storage_used_bytes: int
    storage_reserved_bytes: int
    storage_quota_bytes: int
    bandwidth_used_bytes: int
    bandwidth_reserved_bytes: int
    bandwidth_quota_bytes: int
    request_count: int
    period_start: datetime
    period_end: datetime
    rate_limit_per_minute: int
    max_file_size_mb: int
    jetty_speed_enabled: bool


@dataclass(frozen=True)
class Gauge:
    """How far a quota is used. Sizes are in bytes."""

    resource: str
    used: int
    reserved: int
    quota: int

    @property
    def taken(self) -> int:
        return self.used + self.reserved

    @property
    def percent(self) -> float:
        """What is taken in percent of the quota, rounded down to two decimals; any use of no quota is 100."""
        if self.quota <= 0:
            return 100.0 if self.taken > 0 else 0.0
        return self.taken * 10_000 // self.quota / 100

    def answer(self) -> dict[str, Any]:
        """The figures as tenants see them."""
        return {
            "used_bytes": self.used,
            "reserved_bytes": self.reserved,
            "quota_bytes": self.quota,
            "available_bytes": max(0, self.quota - self.taken),
            "used_gb": round(self.used / GIGABYTE, 2),
            "reserved_gb": round(self.reserved / GIGABYTE, 2),
            "quota_gb": round(self.quota / GIGABYTE, 2),
            "percent": self.percent,
        }

    def warnings(self) -> list[dict[str, object]]:
        """What a tenant should know, from 80 % on."""
        if self.quota == 0:
            code = "not_included"
            sentence = f"The tier includes no {self.resource}. Upgrade to use it."
        elif self.taken >= self.quota:
            code, sentence = "exceeded", f"The {self.resource} quota is used up: upgrade, or free some."
        elif self.taken * 100 >= self.quota * WARNING_PERCENT:
            code, sentence = "near_limit", f"{self.percent:g} % of the {self.resource} quota is used."
        else:
            return []
        return [{"resource": self.resource, "code": code, "percent": self.percent, "message": sentence}]


def quota_answer(counters: Counters) -> dict[str, Any]:
    """The answer of GET /api/agentcache/quota."""
    storage = Gauge(
        "storage",
        counters.storage_used_bytes,
        counters.storage_reserved_bytes,
        counters.storage_quota_bytes,
    )
    bandwidth = Gauge(
        "bandwidth",
        counters.bandwidth_used_bytes,
        counters.bandwidth_reserved_bytes,
        counters.bandwidth_quota_bytes,
    )
    period_end = counters.period_end.isoformat()
    return {
        "success": True,
        "tier": counters.tier,
        "status": counters.status,
        "jetty_speed_enabled": counters.jetty_speed_enabled,
        "max_file_size_mb": counters.max_file_size_mb,
        "storage": storage.answer(),
        "bandwidth": bandwidth.answer() | {"resets_at": period_end},
        "warnings": [*storage.warnings(), *bandwidth.warnings()],
        "rate_limit": {"requests_per_minute": counters.rate_limit_per_minute},
        "request_count": counters.request_count,
        "period": {"start": counters.period_start.isoformat(), "end": period_end},
    }
