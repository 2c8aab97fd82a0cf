"""Settings from the environment. A missing required one stops the service with a sentence that names it."""

import os
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    Field,
    PositiveFloat,
    PostgresDsn,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from jettythunder.hosts import HostList
from jettythunder.operators import UNNAMED, OperatorToken, OperatorTokens
from jettythunder.plaintext import NetworkAddress, objections
from jettythunder.secrets import Secret, required_without

# Of RabbitMQ's units of age, at most.
_DAYS_OF = {"Y": 366, "M": 31, "D": 1, "h": 1 / 24, "m": 1 / 1440, "s": 1 / 86_400}

DRAIN_SECONDS = (
    "How long the service may take to finish what it has begun when it is stopped; what stops it waits ten "
    "seconds longer at least"
)

Address = Annotated[str, NetworkAddress]
SecretAddress = Annotated[SecretStr, NetworkAddress]


# Names a folder with secrets as files, as container engines give them: each is called as its setting is.
SECRETS_DIR = "JETTYTHUNDER_SECRETS_DIR"


class EnvironmentSettings(BaseSettings):
    """Settings that are read from environment variables of their names, and from files of secrets."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """A variable that is set goes before a file."""
        folder = os.environ.get(SECRETS_DIR)
        if not folder or not Path(folder).is_dir():
            return init_settings, env_settings
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folder)


class BrokerSettings(EnvironmentSettings):
    """The broker, and what all services declare there alike."""

    rabbitmq_url: SecretAddress = Field(
        description="RabbitMQ, amqp:// or amqps://user:password@host:port/vhost"
    )
    event_log_max_age: str = Field(
        default="30D", description="How long the event log keeps events, as RabbitMQ writes it: 30D, 12h"
    )
    event_log_max_bytes: int = Field(
        default=20_000_000_000, description="How large the event log becomes before the oldest events go"
    )
    event_log_warn_hours: float = Field(
        default=72,
        ge=0,
        description="A metric warns while the event log keeps fewer hours than this at the present rate",
    )
    inbox_keep_days: int = Field(
        default=90,
        ge=1,
        description="How long consumers remember what they have processed: longer than the event log does",
    )
    retry_delays_seconds: tuple[PositiveFloat, ...] = Field(
        default=(1, 5, 30, 120, 600),
        description="Waits before the delayed attempts at a failed message, as JSON: [1, 5, 30]; "
        "after the last it is a dead letter",
    )

    @model_validator(mode="after")
    def _inbox_outlives_the_log(self) -> Self:
        log_days = _days(self.event_log_max_age)
        if log_days is not None and log_days >= self.inbox_keep_days:
            raise ValueError(
                f"INBOX_KEEP_DAYS is {self.inbox_keep_days}, and EVENT_LOG_MAX_AGE {self.event_log_max_age}: "
                "a replay of the oldest events would have their effects again. Keep the inbox longer."
            )
        return self

    @property
    def event_log_max_hours(self) -> float | None:
        """How long the event log keeps events; None where its age is written in an unknown way."""
        days = _days(self.event_log_max_age)
        return None if days is None else days * 24

    @property
    def retry_delays_ms(self) -> tuple[int, ...]:
        return tuple(round(seconds * 1000) for seconds in self.retry_delays_seconds)


class ListenerSettings(EnvironmentSettings):
    """What a service's listener takes from its clients."""

    internal_port: int | None = Field(
        default=None,
        ge=1,
        le=65_535,
        description="A second port, for what is not public: metrics, chunks for chunk-workers, operators' "
        "calls; the first one answers these with 404 then. Live gateways and chunk-workers need it",
    )
    internal_host: str | None = Field(
        default=None, description="The address that the internal port listens on; by default the first one's"
    )
    http_tls_certificate: Path | None = Field(
        default=None,
        description="Certificate, with its chain, that the service's ports are served by; without it they "
        "speak HTTP without encryption",
    )
    http_tls_key: Path | None = Field(
        default=None, description="The certificate's private key, where HTTP_TLS_CERTIFICATE does not hold it"
    )
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


class TracingSettings(EnvironmentSettings):
    """Traces by OpenTelemetry. Other variables of its SDK, such as OTEL_RESOURCE_ATTRIBUTES, work as well."""

    otel_exporter_otlp_endpoint: Annotated[str | None, NetworkAddress] = Field(
        default=None,
        description="Where traces are sent by OTLP over HTTP, http://collector:4318; nothing is traced "
        "without it",
    )
    otel_traces_sampler_arg: float = Field(
        default=0.1, ge=0, le=1, description="The part of all traces that is recorded, from 0 to 1"
    )
    traceparent_of_clients: Literal["link", "parent"] = Field(
        default="link",
        description="What the traceparent of a client's request becomes: a link of a trace of our own, or "
        "its parent, which lets clients decide what is recorded",
    )


class DatabaseSettings(EnvironmentSettings):
    """The database."""

    database_url: Annotated[PostgresDsn, NetworkAddress] = Field(
        description="PostgreSQL, postgresql://user:password@host:port/name?sslmode=verify-full; of several "
        "hosts (a:5432,b:5432) with target_session_attrs=read-write, the one that takes writes"
    )


class ProcessSettings(ListenerSettings, TracingSettings, DatabaseSettings):
    """What every process needs, also one without messages."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="The least severe log lines that are written"
    )
    sentry_dsn: Annotated[SecretStr | None, NetworkAddress] = Field(
        default=None, description="Where errors are reported as well"
    )
    # Above the secrets, which are checked by it.
    jettythunder_environment: Literal["live", "test"] = Field(
        default="live",
        description="The kind of credentials that new accounts get, jt_live_… or jt_test_…; a live service "
        "does not show the description of its API, speaks to other machines encrypted only, and takes no "
        "secrets under 32 characters and no examples of the documentation",
    )
    allow_plaintext_hosts: str = Field(
        default="",
        description="What a live service may speak to without encryption: host names, endings of names "
        "(.svc.cluster.local) and networks (10.0.0.0/8), separated by commas; its own machine always",
    )
    jettythunder_ops_tokens: OperatorTokens = Field(
        default=(),
        description="Operators' named tokens, name:scope+scope:token separated by commas; the scopes are "
        "metrics:read, ops:read and ops:write, and a name may have two tokens",
    )
    jettythunder_ops_token: Annotated[Secret | None, required_without("jettythunder_ops_tokens")] = Field(
        default=None,
        validate_default=True,
        description="Bearer token of an operator with all scopes; required without JETTYTHUNDER_OPS_TOKENS",
    )
    trusted_proxies: str = Field(
        default="",
        description="Addresses and networks, separated by commas, whose X-Forwarded-For and "
        "X-Forwarded-Proto are believed; empty believes nobody",
    )
    database_pool_size: int = Field(default=10, ge=1, description="Connections to the database at most")
    drain_seconds: float = Field(default=25, gt=0, description=DRAIN_SECONDS)

    @property
    def operator_tokens(self) -> tuple[OperatorToken, ...]:
        """All tokens of operators."""
        unnamed = self.jettythunder_ops_token
        return self.jettythunder_ops_tokens + ((OperatorToken(UNNAMED, unnamed),) if unnamed else ())

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in value.split(",") if value else ():
            ip_network(network.strip(), strict=False)
        return value

    @field_validator("allow_plaintext_hosts")
    @classmethod
    def _plaintext_hosts(cls, value: str) -> str:
        HostList(value)
        return value

    @model_validator(mode="after")
    def _live_speaks_encrypted(self) -> Self:
        if self.jettythunder_environment == "live":
            allowed = HostList(self.allow_plaintext_hosts)
            found = [
                sentence
                for name, field in type(self).model_fields.items()
                if NetworkAddress in field.metadata
                for sentence in objections(name.upper(), _text(getattr(self, name)), allowed)
            ]
            if found:
                raise ValueError("\n".join(found))
        return self


class PublicSettings(ProcessSettings):
    """What a process needs that clients call: where it is live, another port for what is internal."""

    @model_validator(mode="after")
    def _live_keeps_internal_paths_apart(self) -> Self:
        if self.jettythunder_environment == "live" and self.internal_port is None:
            raise ValueError(
                "INTERNAL_PORT is not set, and a live service that clients call has no internal paths on its "
                "public port: set it to a port that only the inner network reaches."
            )
        return self


class ServiceSettings(ProcessSettings, BrokerSettings):
    """What every service needs. Each service's own settings class adds to it."""


class StorageSettings(EnvironmentSettings):
    """Where the objects are: any S3 endpoint, Seagate Lyve Cloud by default."""

    lyve_endpoint: Address = Field(
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


def _days(age: str) -> float | None:
    """An age as RabbitMQ writes it in days; None where it is written in another way."""
    number, unit = age[:-1], age[-1:]
    return int(number) * _DAYS_OF[unit] if number.isdecimal() and unit in _DAYS_OF else None


def _text(value: Any) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return "" if value is None else str(value)


def _sentence(settings: type[BaseSettings], problem: object) -> str:
    details = problem if isinstance(problem, dict) else {}
    if not details["loc"]:
        # Of settings that don't go together; it names them itself.
        return str(details["ctx"]["error"])
    field = str(details["loc"][0])
    name = field.upper()
    described = (
        settings.model_fields[field.lower()].description if field.lower() in settings.model_fields else None
    )
    meaning = f" ({described})" if described else ""
    if details["type"] == "missing":
        return f"{name} is not set{meaning}: set it in the environment and start again."
    reason = str(details["msg"]).removeprefix("Value error, ")
    return f"{name} has a value that is not allowed{meaning}: {reason}."
