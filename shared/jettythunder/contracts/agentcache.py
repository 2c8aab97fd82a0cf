"""What AgentCache publishes on its exchange."""

from typing import ClassVar

from pydantic import Field

from jettythunder.contracts.envelope import Payload


class _AboutUser(Payload):
    user_id: str = Field(min_length=1, max_length=255)

    @property
    def about(self) -> str:
        return self.user_id


class UserSignedUpV1(_AboutUser):
    """A user signed up with AgentCache. With reply_to set, the credentials come back on that queue."""

    TYPE: ClassVar[str] = "agentcache.user.signed_up.v1"

    email: str = Field(min_length=3, max_length=320)
    tier: str


class UserTierChangedV1(_AboutUser):
    """A user's tier changed."""

    TYPE: ClassVar[str] = "agentcache.user.tier_changed.v1"

    tier: str


class MultimodalCacheEnabledV1(_AboutUser):
    """A user switched the multimodal cache on: the account is made where there is none."""

    TYPE: ClassVar[str] = "agentcache.multimodal_cache.enabled.v1"

    email: str = Field(min_length=3, max_length=320)
    tier: str
