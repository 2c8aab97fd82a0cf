"""What metering knows of an account."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Account:
    """An account, as metering names it. ``agentcache_user_id`` is the id as AgentCache gave it."""

    id: UUID
    agentcache_user_id: str
    s3_prefix: str
