"""Settings from the environment. A missing required one stops the service with a sentence that names it."""

from ipaddress import ip_network
from typing import Literal, TypeVar

from pydantic import Field, PositiveFloat, PostgresDsn, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class EnvironmentSettings(BaseSettings):
    """Settings that are read from environment variables of their names."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)


class BrokerSettings(EnvironmentSettings):
    """The broker, and what all services declare there alike."""

    rabbitmq_url: SecretStr = Field(description="RabbitMQ, amqp://user:password@host:port/vhost")
    event_log_max_age: str = Field(
        default="30D", description="How long the event log keeps events, as RabbitMQ writes it: 30D, 12h"
    )
    event_log_max_bytes: int = Field(
        default=20_000_000_000, description="How large the event log becomes before the oldest events go"
    )
    retry_delays_seconds: tuple[PositiveFloat, ...] = Field(
        default=(1, 5, 30, 120, 600),
        description="Waits before the delayed attempts at a failed message, as JSON: [1, 5, 30]; "
        "after the last it is a dead letter",
    )

    @property
    def retry_delays_ms(self) -> tuple[int, ...]:
        return tuple(round(seconds * 1000) for seconds in self.retry_delays_seconds)


class ListenerSettings(EnvironmentSettings):
    """What a service's listener takes from its clients."""

    http_max_connections: int = Field(default=2_000, ge=1, description="Connections at once")
    http_max_idle_connections: int = Field(
        default=1_000,
        ge=1,
        description="Connections without a request; the longest idle are closed for new ones",
    )
    http_header_seconds: float = Field(
        default=10,
        gt=0,
        description="Longest wait for the first bytes of a connection and for a whole header",
    )
    http_max_header_bytes: int = Field(
        default=64 * 1024, ge=1024, description="Longest request line and header"
    )
    http_body_seconds: float = Field(
        default=30, gt=0, description="Longest wait for the whole body of a call that takes JSON"
    )
    http_send_stall_seconds: float = Field(
        default=30, gt=0, description="How often the progress of a slow reader is checked"
    )
    http_send_min_bytes_per_second: int = Field(
        default=1024, ge=1, description="A reader that takes less on average is disconnected"
    )
    http_keep_alive_seconds: int = Field(
        default=75,
        ge=1,
        # A server that closes first may do so just when the next request is on its way, which is then lost.
        description="How long an idle connection is kept: longer than clients and load balancers do",
    )
    http_graceful_seconds: int = Field(
        default=20, ge=1, description="How long requests under way may take when the service ends"
    )


class ProcessSettings(ListenerSettings):
    """What every process needs, also one without messages."""

    database_url: PostgresDsn = Field(description="PostgreSQL, postgresql://user:password@host:port/name")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least severe log lines that are written"
    )
    sentry_dsn: SecretStr | None = Field(default=None, description="Where errors are reported as well")
    jettythunder_ops_token: SecretStr = Field(
        description="Bearer token of operators: metrics and administration"
    )
    jettythunder_environment: Literal["live", "test"] = Field(
        default="live",
        description="The kind of credentials that new accounts get, jt_live_… or jt_test_…; a live service "
        "does not show the description of its API",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses and networks, separated by commas, whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed; empty believes nobody",
    )
    database_pool_size: int = Field(default=10, ge=1, description="Connections to the database at most")

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in value.split(",") if value else ():
            ip_network(network.strip(), strict=False)
        return value


class ServiceSettings(ProcessSettings, BrokerSettings):
    """What every service needs. Each service's own settings class adds to it."""

    shutdown_timeout_seconds: float = Field(
        default=15, gt=0, description="How long handlers may take to finish when the service stops"
    )


class StorageSettings(EnvironmentSettings):
    """Where the objects are: any S3 endpoint, Seagate Lyve Cloud by default."""

    lyve_endpoint: str = Field(
        default="https://s3.lyvecloud.seagate.com", description="The object storage, any S3 endpoint"
    )
    lyve_region: str = Field(default="us-east-1", description="The region that requests are signed for")
    lyve_access_key_id: str = Field(description="Access key of the bucket's owner")
    lyve_secret_access_key: SecretStr = Field(description="Secret of the bucket's owner")
    lyve_bucket_name: str = Field(
        default="agentcache-assets", description="The bucket of all accounts; the same for all services"
    )
    storage_read_connections: int = Field(
        default=256, ge=1, description="Connections to the object storage that bytes are read over at once"
    )
    storage_write_connections: int = Field(
        default=128, ge=1, description="Connections to the object storage that bytes are written over at once"
    )
    storage_stall_seconds: float = Field(
        default=60, gt=0, description="Longest silence of the object storage before a call is given up"
    )


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load(settings: type[AnySettings]) -> AnySettings:
    """Read ``settings`` from the environment.

    Raises:
        SystemExit: with one sentence per setting that is missing or wrong; values are never shown.
    """
    try:
        return settings()
    except ValidationError as error:
        raise SystemExit("\n".join(_sentence(settings, problem) for problem in error.errors())) from None


def _sentence(settings: type[BaseSettings], problem: object) -> str:
    details = problem if isinstance(problem, dict) else {}
    field = str(details["loc"][0])
    name = field.upper()
    described = (
        settings.model_fields[field.lower()].description if field.lower() in settings.model_fields else None
    )
    meaning = f" ({described})" if described else ""
    if details["type"] == "missing":
        return f"{name} is not set{meaning}: set it in the environment and start again."
    return f"{name} has a value that is not allowed{meaning}: {details['msg']}."
