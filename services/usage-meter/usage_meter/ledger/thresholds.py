"""Thresholds: how far quotas are used, and which change of it is announced."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from uuid import UUID

from jettythunder.contracts.envelope import Payload
from jettythunder.contracts.quota import QuotaExceededV1, QuotaRestoredV1, QuotaThresholdCrossedV1
from usage_meter.ledger.model import Resource

_EXCEEDED_PERCENT = 100


@dataclass(frozen=True, kw_only=True)
class Gauge:
    """How far one quota of an account is used, and what was said about it last."""

    account_id: UUID
    resource: Resource
    used_bytes: int
    quota_bytes: int
    level_percent: int
    exceeded: bool


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What is to be said about a gauge now."""

    gauge: Gauge
    level_percent: int
    exceeded: bool
    crossed_percents: Sequence[int]

    @property
    def changed(self) -> bool:
        """Whether anything differs from what was said last."""
        return self.level_percent != self.gauge.level_percent or self.exceeded != self.gauge.exceeded


def read_gauge(gauge: Gauge, thresholds_percent: Sequence[int]) -> Reading:
    """Compare use with thresholds, which ascend; one is crossed when use reaches it from below.

    An account that uses nothing has reached nothing, also where its quota is 0.
    """
    used, quota = gauge.used_bytes * 100, gauge.quota_bytes
    reached = [t for t in thresholds_percent if used >= quota * t] if used > 0 else []
    return Reading(
        gauge=gauge,
        level_percent=reached[-1] if reached else 0,
        exceeded=0 < used >= quota * _EXCEEDED_PERCENT,
        crossed_percents=[t for t in reached if t > gauge.level_percent],
    )


def lowest_percent(thresholds_percent: Sequence[int]) -> int:
    """Below this a quota has nothing to announce, unless something was announced of it before."""
    return min([*thresholds_percent, _EXCEEDED_PERCENT])


def announcements(reading: Reading) -> Iterator[Payload]:
    """The events that tell what has changed since the last ones."""
    gauge = reading.gauge
    about = {
        "account_id": gauge.account_id,
        "resource": gauge.resource,
        "used_bytes": gauge.used_bytes,
        "quota_bytes": gauge.quota_bytes,
    }
    for percent in reading.crossed_percents:
        yield QuotaThresholdCrossedV1(**about, threshold_percent=percent)
    if reading.exceeded and not gauge.exceeded:
        yield QuotaExceededV1(**about)
    if gauge.exceeded and not reading.exceeded:
        yield QuotaRestoredV1(**about)
