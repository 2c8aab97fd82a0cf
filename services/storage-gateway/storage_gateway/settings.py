"""Settings of the storage-gateway."""

import tempfile
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from jettythunder.chunk_urls import ChunkUrlSettings
from jettythunder.hosts import HostList
from jettythunder.plaintext import NetworkAddress
from jettythunder.secrets import Secret, Secrets, required_without
from jettythunder.settings import DRAIN_SECONDS, Address, PublicSettings, ServiceSettings, StorageSettings
from jettythunder.signatures import SigningKeys
from storage_gateway.uploads.model import ChunkSizes


class Settings(PublicSettings, ServiceSettings, StorageSettings, ChunkUrlSettings):
    """What the storage-gateway reads from the environment."""

    drain_seconds: float = Field(default=270, gt=0, description=DRAIN_SECONDS)
    jettythunder_signing_keys: SecretStr = Field(
        description="Private keys (Ed25519) of stream links and edge tokens, `kid:seed[,…]`: "
        "the first signs, all are accepted"
    )
    agentcache_provision_secrets: Secrets = Field(
        default=(),
        description="Bearer tokens AgentCache calls with: one, or two separated by a comma during a rotation",
    )
    agentcache_webhook_secret: Annotated[Secret | None, required_without("agentcache_provision_secrets")] = (
        Field(
            default=None,
            validate_default=True,
            description="Bearer token AgentCache calls with, where AGENTCACHE_PROVISION_SECRETS is not set",
        )
    )
    jettythunder_api_url: Address = Field(
        default="http://localhost:3000/api/agentcache",
        description="Where callers reach the gateway, with AgentCache's path; links are made with it",
    )
    gateway_internal_url: Address = Field(
        default="http://127.0.0.1:3000",
        description="Where chunk-workers reach this very instance, on its INTERNAL_PORT where that is set",
    )
    spool_dir: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()),
        description="Where chunks wait for workers; by default the system's folder for temporary files",
    )
    spool_budget_bytes: int = Field(
        default=2_000_000_000,
        ge=20_000_000,
        description="Bytes of chunks that arrive or wait for workers at most; two chunks at least",
    )
    spool_account_share: float = Field(
        default=0.5, gt=0, le=1, description="The share of those bytes that one account may hold at most"
    )
    uploads_at_once: int = Field(default=500, ge=1, description="Form uploads under way at once at most")
    uploads_per_account: int = Field(
        default=100, ge=1, description="Form uploads of one account under way at once at most"
    )
    upload_admission_seconds: float = Field(
        default=10, gt=0, description="Longest wait of a new upload for room in the spool"
    )
    upload_min_bytes_per_second: int = Field(
        default=1024, ge=0, description="A form upload that arrives slower than this is ended"
    )
    upload_max_seconds: float = Field(
        default=43_200, gt=0, description="Longest time that a form upload may take to arrive"
    )
    max_session_chunk: int = Field(
        default=64 * 1024 * 1024,
        ge=5 * 1024 * 1024,
        description="Largest chunk size in bytes that a client may ask for; larger files than 10,000 of "
        "these get larger chunks",
    )
    stream_hold_seconds: int = Field(
        default=300,
        ge=4,
        description="How long the bandwidth of a stream stays held when the gateway that sends it is gone",
    )
    streams_per_account: int = Field(
        default=64, ge=1, description="Streams of one account under way at once at most"
    )
    streams_per_link: int = Field(
        default=16, ge=1, description="Streams by one signed link under way at once at most"
    )
    chunks_in_flight_per_upload: int = Field(
        default=20, ge=1, description="Chunks of one form upload that are held at once"
    )
    jettyspeed_enabled: bool = Field(default=True, description="Whether upload sessions are offered at all")
    jettyspeed_direct: bool = Field(
        default=False, description="Whether clients may send chunks straight to the object storage"
    )
    session_seconds: int = Field(
        default=86_400, ge=60, description="How long after tokens were last asked for a session expires"
    )
    sessions_per_account: int = Field(
        default=1_000, ge=1, description="Upload sessions of one account that may be open at once"
    )
    closed_uploads_keep_days: int = Field(
        default=30,
        ge=7,
        description="How long uploads that were completed, aborted or have expired are listed and kept",
    )
    cache_keys_per_asset: int = Field(default=1_000, ge=1, description="Cache keys that may name one asset")
    edge_token_seconds: int = Field(
        default=900, ge=10, description="How long a chunk's token and its direct URL are valid"
    )
    edge_worker_urls: Address = Field(
        default="",
        pattern=r"^(https?://[^\s/,?#]+(/[^\s,?#]*)?(\s*,\s*|$))*$",
        description="Where Cloudflare Workers serve as edges: URLs, separated by commas; each is asked for "
        "its health every five seconds",
    )
    edge_secrets: Secrets = Field(
        default=(),
        description="Bearer tokens that Workers call the gateway with: one, or two separated by a comma "
        "during a rotation; without one no Worker can store chunks",
    )
    edge_chunk_attempts: int = Field(
        default=50, ge=1, description="How often one chunk may be sent to Workers in a quarter of an hour"
    )
    edge_chunks_per_account: int = Field(
        default=64,
        ge=1,
        description="Chunks that one account may have on the way over Workers, all of them together",
    )
    agentcache_api_url: Address = Field(
        default="https://agentcache.ai/api", description="AgentCache's API; `off` asks it nothing"
    )
    agentcache_edge_hosts: str = Field(
        default="",
        description="Hosts of AgentCache's edges that clients may send chunks to: names, endings of names "
        "(.agentcache.ai), separated by commas; empty lists none of them",
    )
    jettyspeed_chunk_size_mb: int = Field(
        default=10, ge=6, le=5000, description="Chunk size in MB, where a client asks for none"
    )
    rate_limit_window_ms: int = Field(
        default=60_000, ge=1, description="Window of the rate limit by address, for requests of no account"
    )
    rate_limit_max_requests: int = Field(
        default=1_000, ge=1, description="Requests of one address in that window at most"
    )
    provision_timeout_seconds: float = Field(
        default=10, description="Longest wait for provisioning's answer to a command"
    )
    chunk_timeout_seconds: float = Field(default=180, description="Longest wait for one chunk to be stored")
    receive_timeout_seconds: float = Field(default=30, description="Longest silence of an uploading client")
    upload_lease_seconds: int = Field(
        default=300, description="How long after its gateway stopped a form upload expires"
    )
    housekeeping_interval_seconds: float = Field(
        default=15, description="How often expired uploads, expired assets and leftovers are removed"
    )
    late_write_seconds: int = Field(
        default=300,
        ge=0,
        description="How long the object storage may still finish a write after the upload's end: parts and"
        " objects that were removed are removed once more then",
    )
    cleanup_retry_seconds: int = Field(
        default=60,
        ge=1,
        description="How long after the object storage failed to delete something it is tried again",
    )
    verify_seconds: float = Field(
        default=10, gt=0, description="How often the claimed hash of one asset is verified"
    )
    verify_timeout_seconds: float = Field(
        default=120, gt=0, description="Longest wait for one asset's hash to be computed"
    )
    download_link_seconds: int = Field(
        default=300, ge=1, le=604_800, description="How long a download link is valid at most, and by default"
    )
    jettyspeed_cdn_url: Annotated[str | None, NetworkAddress] = Field(
        default=None, pattern=r"^https?://[^\s/]+", description="The desktop CDN that links lead to as well"
    )

    @field_validator("jettythunder_signing_keys")
    @classmethod
    def _private_keys(cls, value: SecretStr) -> SecretStr:
        SigningKeys.parse(value.get_secret_value())
        return value

    @field_validator(
        "jettythunder_api_url", "gateway_internal_url", "agentcache_api_url", "jettyspeed_cdn_url"
    )
    @classmethod
    def _without_slash(cls, value: str | None) -> str | None:
        return None if value is None else value.rstrip("/")

    @field_validator("agentcache_edge_hosts")
    @classmethod
    def _edge_hosts(cls, value: str) -> str:
        HostList(value)
        return value

    @model_validator(mode="after")
    def _spool_holds_two_chunks(self) -> Self:
        if self.spool_budget_bytes < 2 * self.chunk_size_bytes:
            raise ValueError("SPOOL_BUDGET_BYTES must be at least twice as large as JETTYSPEED_CHUNK_SIZE_MB")
        return self

    @model_validator(mode="after")
    def _workers_have_a_secret(self) -> Self:
        if self.edge_worker_urls and not self.edge_secrets:
            raise ValueError("EDGE_WORKER_URLS needs EDGE_SECRETS, which Workers call the gateway with")
        return self

    @property
    def agentcache_secrets(self) -> tuple[str, ...]:
        """The bearer tokens that AgentCache calls with."""
        alone = (self.agentcache_webhook_secret,) if self.agentcache_webhook_secret else ()
        accepted = self.agentcache_provision_secrets or alone
        return tuple(secret.get_secret_value() for secret in accepted)

    @property
    def edge_workers(self) -> tuple[str, ...]:
        """EDGE_WORKER_URLS, each without its last slash."""
        urls = (url.strip().rstrip("/") for url in self.edge_worker_urls.split(","))
        return tuple(url for url in urls if url)

    @property
    def public_url(self) -> str:
        """The address tenants use: JETTYTHUNDER_API_URL without its AgentCache path."""
        return self.jettythunder_api_url.removesuffix("/api/agentcache")

    @property
    def chunk_size_bytes(self) -> int:
        return self.jettyspeed_chunk_size_mb * 1_000_000

    @property
    def chunk_sizes(self) -> ChunkSizes:
        """Sizes of which an account's share of the spool holds all that one form may have on their way."""
        return ChunkSizes.within(
            int(self.spool_budget_bytes * self.spool_account_share),
            least_bytes=self.chunk_size_bytes,
            in_flight=self.chunks_in_flight_per_upload,
        )
