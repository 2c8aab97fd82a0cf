"""Credentials and request counters in PostgreSQL."""

from dataclasses import dataclass
from uuid import UUID

from jettythunder.database import Database, Queries
from storage_gateway.access.model import LinkOwner, Taken


@dataclass(frozen=True)
class Found:
    """What an API key leads to; the counter's figures are None where the secret was wrong."""

    account_id: UUID
    agentcache_user_ref: str
    tier: str
    status: str
    epoch: int
    secret_digest: str
    s3_prefix: str
    jetty_speed_enabled: bool
    storage_quota_gb: int
    bandwidth_quota_gb: int
    max_file_size_mb: int
    rate_limit_per_minute: int
    allowed: bool | None
    remaining: int | None
    reset_seconds: float | None


_FORGOTTEN_AT_ONCE = 10_000

_queries = Queries("storage_gateway.access")
_authenticate = _queries.maybe("authenticate", Found)
_take_request = _queries.one("take_request", Taken)
_forget_counters = _queries.run("forget_counters")
_link_owner = _queries.maybe("link_owner", LinkOwner)


class AccessStore:
    """What access is checked against."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def authenticate(self, *, api_key: str, secret_digest: str) -> Found | None:
        """The account of a key, its request counted where the digest is right."""
        return await _authenticate(self._database, api_key=api_key, secret_digest=secret_digest)

    async def take_request(self, *, subject: str, request_limit: int, window_seconds: float) -> Taken:
        """Count one request of a subject."""
        return await _take_request(
            self._database, subject=subject, request_limit=request_limit, window_seconds=window_seconds
        )

    async def forget_counters(self, *, older_than_seconds: float) -> None:
        """Remove counters that were not counted with for this long."""
        await _forget_counters(
            self._database, older_than_seconds=older_than_seconds, batch_size=_FORGOTTEN_AT_ONCE
        )

    async def link_owner(self, asset_id: UUID) -> LinkOwner | None:
        """The account that owns an asset."""
        return await _link_owner(self._database, asset_id=asset_id)
