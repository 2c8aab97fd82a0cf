"""The services as programs: what starts them, on which port, with which environment."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from jettythunder.applications import applications
from jettythunder_dev.layout import REPOSITORY, Layout, read_template
from jettythunder_dev.programs import Program

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

GATEWAY = "storage-gateway"
SERVICE_PRIORITY = 50


@dataclass(frozen=True)
class ServiceKind:
    """A service as deploy/dev/services.toml lists it. `scales` services run as many times as wanted."""

    name: str
    settings: str
    port: int
    url_variable: str | None = None
    scales: bool = False

    def settings_class(self) -> type[BaseSettings]:
        """The class whose fields are the environment variables that the service reads."""
        module, _, name = self.settings.partition(":")
        settings: type[BaseSettings] = getattr(import_module(module), name)
        return settings

    def variables(self) -> frozenset[str]:
        """The environment variables that the service reads."""
        return frozenset(field.upper() for field in self.settings_class().model_fields)


@dataclass(frozen=True)
class Service:
    """One process of a service. `index` counts the processes of a kind from 1."""

    kind: ServiceKind
    port: int
    index: int = 1

    @property
    def name(self) -> str:
        return f"{self.kind.name}-{self.index}" if self.kind.scales else self.kind.name

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def service_kinds() -> list[ServiceKind]:
    """The services in the order of their start."""
    return [ServiceKind(**entry) for entry in tomllib.loads(read_template("services.toml"))["service"]]


def service_command(kind: ServiceKind, port: int) -> list[str]:
    """The command that serves the application on loopback."""
    return [sys.executable, "-m", "jettythunder.http.serve", applications()[kind.name], "--port", str(port)]


def service_environment(
    service: Service, *, gateway_port: int, layout: Layout, shared: Mapping[str, str]
) -> dict[str, str]:
    """The variables for this process: those of the shared ones and of its own that the service reads."""
    per_process = {
        "EDGE_ID": f"edge-{service.index}",
        "EDGE_URL": service.url,
        "GATEWAY_INTERNAL_URL": f"http://127.0.0.1:{gateway_port}",
        "SPOOL_DIR": str(layout.spool),
    }
    read = service.kind.variables()
    return {name: value for name, value in {**shared, **per_process}.items() if name in read}


def service_program(
    service: Service, *, gateway_port: int, layout: Layout, shared: Mapping[str, str]
) -> Program:
    """The program that runs the service under supervisor."""
    environment = service_environment(service, gateway_port=gateway_port, layout=layout, shared=shared)
    return Program(
        name=service.name,
        command=service_command(service.kind, service.port),
        directory=REPOSITORY,
        environment={**environment, "PYTHONUNBUFFERED": "1"},
        priority=SERVICE_PRIORITY,
    )


def service_urls(services: Iterable[Service]) -> dict[str, str]:
    """The addresses of the services that commands call, by the variable in which commands look for each."""
    return {service.kind.url_variable: service.url for service in services if service.kind.url_variable}


def all_variables() -> frozenset[str]:
    """The variables that any of the services reads: what a user may set for them."""
    return frozenset().union(*(kind.variables() for kind in service_kinds()))
