"""Roles that run elsewhere: the servers that the environment's variables already point to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from jettythunder_dev.clients import list_buckets, ping_broker, ping_database
from jettythunder_dev.programs import Program
from jettythunder_dev.swift import REGION

VARIABLES = {
    "postgres": ("DATABASE_URL",),
    "rabbitmq": ("RABBITMQ_URL",),
    "s3": ("LYVE_ENDPOINT", "LYVE_REGION", "LYVE_ACCESS_KEY_ID", "LYVE_SECRET_ACCESS_KEY"),
}
TITLES = {"postgres": "PostgreSQL", "rabbitmq": "RabbitMQ", "s3": "S3"}


class ExternalRole:
    """A server that is not ours: it is used, and never started, configured or stopped."""

    source = "external"

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self._variables = {
            variable: environment[variable] for variable in VARIABLES[name] if environment.get(variable)
        }
        if name == "s3":
            self._variables.setdefault("LYVE_REGION", REGION)

    def missing(self) -> list[str]:
        """The variables that would be needed too and are not set."""
        return [variable for variable in VARIABLES[self.name] if variable not in self._variables]

    def prepare(self) -> None:
        """Nothing is ours to prepare."""

    def programs(self) -> list[Program]:
        return []

    def ping(self) -> None:
        pings: dict[str, Callable[[], None]] = {
            "postgres": lambda: ping_database(self._variables["DATABASE_URL"]),
            "rabbitmq": lambda: ping_broker(self._variables["RABBITMQ_URL"]),
            "s3": lambda: list_buckets(*(self._variables[variable] for variable in VARIABLES["s3"])),
        }
        pings[self.name]()

    def complete(self) -> None:
        """Whoever runs the server made its users and databases."""

    def variables(self) -> dict[str, str]:
        return dict(self._variables)

    def describe(self) -> str:
        address = urlsplit(self._variables[VARIABLES[self.name][0]]).netloc.rpartition("@")[2]
        return f"{TITLES[self.name]} of yours on {address}"
