"""Settings of chunk-workers, and of edges that are nothing else."""

import os
import socket
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from chunk_worker.chunks.gateways import GatewayAddresses
from jettythunder.chunk_urls import ChunkUrlSettings
from jettythunder.plaintext import NetworkAddress
from jettythunder.settings import DRAIN_SECONDS, Address, PublicSettings, ServiceSettings, StorageSettings
from jettythunder.signatures import VerifyingKeys


def _own_name() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _missing() -> PydanticCustomError:
    """The refusal of a variable that is required only where others have certain values."""
    return PydanticCustomError("missing", "Field required")


class EdgeSettings(PublicSettings, StorageSettings):
    """What an edge reads from the environment. It has no broker, and no key that signs anything."""

    drain_seconds: float = Field(default=180, gt=0, description=DRAIN_SECONDS)
    edge_id: str = Field(
        default_factory=_own_name,
        min_length=1,
        max_length=100,
        description="Name of this edge, unique; by default the host and the process id",
    )
    edge_region: str = Field(
        default="local", min_length=1, max_length=100, description="The region that the list of edges shows"
    )
    edge_url: Annotated[str | None, NetworkAddress] = Field(
        default=None,
        pattern=r"^https?://[^\s/]+",
        description="Where clients reach this edge; a chunk-worker without it is no edge",
    )
    jettythunder_verifying_keys: str = Field(
        default="",
        validate_default=True,
        description="What edge tokens are checked with, required with EDGE_URL: the public keys of "
        "JETTYTHUNDER_SIGNING_KEYS, `kid:key[,…]`",
    )
    edge_budget_bytes: int = Field(
        default=512_000_000, ge=1, description="Bytes of chunks that this edge takes at once"
    )
    # Gateways take an edge that was silent for fifteen seconds for gone: two heartbeats may be lost.
    edge_heartbeat_seconds: float = Field(
        default=5, gt=0, le=5, description="How often this edge says that it is there"
    )
    edge_stall_seconds: float = Field(
        default=30, gt=0, description="Longest silence of a client before its chunk is given up"
    )
    edge_chunks_per_account: int = Field(
        default=64, ge=1, description="Chunks that one account may have in flight at this edge"
    )
    edge_chunk_attempts: int = Field(
        default=50, ge=1, description="How often one chunk may be sent to this edge in a quarter of an hour"
    )
    edge_min_bytes_per_second: int = Field(
        default=1024, ge=0, description="A chunk that arrives slower than this is ended"
    )
    edge_late_seconds: float = Field(
        default=60, ge=0, description="How long after its token's expiry a chunk may still arrive"
    )
    agentcache_api_url: Annotated[str | None, NetworkAddress] = Field(
        default=None,
        description="AgentCache's API, where chunks are recorded if it is set; `off` records nothing",
    )
    agentcache_api_key: SecretStr | None = Field(default=None, description="Key for AgentCache's API")

    @field_validator("jettythunder_verifying_keys")
    @classmethod
    def _public_keys(cls, value: str, info: ValidationInfo) -> str:
        if value:
            VerifyingKeys.parse(value)
        elif info.data.get("edge_url"):
            raise _missing()
        return value

    @property
    def edge_chunks(self) -> int:
        """Chunks of clients in flight at once: each has a connection to the object storage for itself."""
        return self.storage_write_connections

    @property
    def recorder_url(self) -> str | None:
        """AGENTCACHE_API_URL without its last slash, None where nothing is recorded there."""
        return None if self.agentcache_api_url in (None, "off") else str(self.agentcache_api_url).rstrip("/")


class EdgeProcessSettings(EdgeSettings):
    """What an edge that is nothing else reads from the environment."""

    edge_url: Annotated[str, NetworkAddress] = Field(
        pattern=r"^https?://[^\s/]+", description="Where clients reach this edge"
    )


class Settings(EdgeSettings, ServiceSettings, ChunkUrlSettings):
    """What a chunk-worker reads from the environment."""

    chunk_worker_prefetch: int = Field(
        default=10, ge=1, le=1000, description="Chunks taken from the queue at once"
    )
    gateway_internal_urls: Address = Field(
        default="",
        validate_default=True,
        description="Where chunks may be fetched from, separated by commas: URL prefixes, or networks "
        "(http://10.244.0.0/16) for any address and port in them; required where "
        "JETTYTHUNDER_ENVIRONMENT is `live`; empty is anywhere",
    )
    chunk_source_stall_seconds: float = Field(
        default=30, gt=0, description="Longest silence of a gateway before its chunk is given up"
    )

    @field_validator("gateway_internal_urls")
    @classmethod
    def _named_in_live(cls, value: str, info: ValidationInfo) -> str:
        if not value and info.data.get("jettythunder_environment") == "live":
            raise _missing()
        GatewayAddresses(value)
        return value

    @property
    def edge_chunks(self) -> int:
        """Chunks of clients in flight at once, beside those that are taken from the queue."""
        return max(1, self.storage_write_connections - self.chunk_worker_prefetch)

    @property
    def gateways(self) -> GatewayAddresses:
        """Where chunks may be fetched from."""
        return GatewayAddresses(self.gateway_internal_urls)
