"""What a program is to the process manager, and what a role (a server of the infrastructure) has to offer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Program:
    """A long-running program under supervisor. Lower priorities start first and stop last."""

    name: str
    command: list[str]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    priority: int = 100
    stop_signal: str = "TERM"
    stop_wait_seconds: int = 25
    listens_on: int | None = None
    """The port that must answer before the role's next program starts, where the order matters."""


class Role(Protocol):
    """PostgreSQL, RabbitMQ or the S3 server, wherever it runs."""

    name: str
    source: str

    def prepare(self) -> None:
        """Make the data and the configuration that the server needs, where they are not there yet."""

    def programs(self) -> list[Program]:
        """The programs to run, in the order of their start; none where the server runs elsewhere."""

    def ping(self) -> None:
        """Do the smallest real piece of work; raises where the server does not answer yet."""

    def complete(self) -> None:
        """What needs the running server once: users and databases. Does nothing when repeated."""

    def variables(self) -> dict[str, str]:
        """The environment variables by which services reach the server."""

    def describe(self) -> str:
        """Name, version and address, for people."""
