"""Settings from the environment. A missing required one stops the service with a sentence that names it."""

from typing import Literal, TypeVar

from pydantic import Field, PositiveFloat, PostgresDsn, SecretStr, ValidationError
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


class ServiceSettings(BrokerSettings):
    """What every service needs. Each service's own settings class adds to it."""

    database_url: PostgresDsn = Field(description="PostgreSQL, postgresql://user:password@host:port/name")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least severe log lines that are written"
    )
    sentry_dsn: SecretStr | None = Field(default=None, description="Where errors are reported as well")
    jettythunder_ops_token: SecretStr = Field(
        description="Bearer token of operators: metrics and administration"
    )
    database_pool_size: int = Field(default=10, ge=1, description="Connections to the database at most")
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
        default=64, ge=1, description="Connections to the object storage that bytes are written over at once"
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
