"""What usage-meter says about quotas and usage."""

from typing import ClassVar
from uuid import UUID

from pydantic import AwareDatetime

from jettythunder.contracts.envelope import Payload


class _AboutAccount(Payload):
    account_id: UUID

    @property
    def about(self) -> str:
        return str(self.account_id)


class QuotaThresholdCrossedV1(_AboutAccount):
    """Use rose past a threshold; said once per crossing."""

    TYPE: ClassVar[str] = "jettythunder.quota.threshold_crossed.v1"

    resource: str
    threshold_percent: int
    used_bytes: int
    quota_bytes: int


class QuotaExceededV1(_AboutAccount):
    """The account uses all of its quota or more."""

    TYPE: ClassVar[str] = "jettythunder.quota.exceeded.v1"

    resource: str
    used_bytes: int
    quota_bytes: int


class QuotaRestoredV1(_AboutAccount):
    """The account is below its quota again."""

    TYPE: ClassVar[str] = "jettythunder.quota.restored.v1"

    resource: str
    used_bytes: int
    quota_bytes: int


class UsageRecordedV1(_AboutAccount):
    """An hour of an account's usage was closed. A later ``revision`` of an hour replaces an earlier one."""

    TYPE: ClassVar[str] = "jettythunder.usage.recorded.v1"

    storage_bytes: int
    bandwidth_bytes: int
    request_count: int
    period_start: AwareDatetime
    period_end: AwareDatetime
    revision: int = 1
