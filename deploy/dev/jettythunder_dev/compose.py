"""PostgreSQL and RabbitMQ as containers, where a Docker engine answers.

The S3 server is not among them: it comes from PyPI wherever Python runs, so it is the same on every machine.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from urllib.parse import quote

from jettythunder_dev.clients import make_database, ping_broker, ping_database
from jettythunder_dev.errors import StackError
from jettythunder_dev.layout import REPOSITORY, Layout
from jettythunder_dev.postgres import DATABASE, OWNER, SUPERUSER
from jettythunder_dev.programs import Program
from jettythunder_dev.rabbitmq import USER

COMPOSE_FILE = REPOSITORY / "deploy" / "dev" / "compose.yaml"
COMPOSE_ROLES = ("postgres", "rabbitmq")
ENGINE_TIMEOUT_SECONDS = 5


class Compose:
    """The compose project of one data folder."""

    def __init__(self, layout: Layout) -> None:
        self._project = layout.identifier
        self._creating = threading.Lock()

    def engine_answers(self) -> bool:
        """Whether there is a Docker engine with compose to talk to."""
        if not shutil.which("docker"):
            return False
        for command in (["docker", "info"], ["docker", "compose", "version"]):
            try:
                asked = subprocess.run(
                    command, capture_output=True, check=False, timeout=ENGINE_TIMEOUT_SECONDS
                )
            except (OSError, subprocess.TimeoutExpired):
                return False
            if asked.returncode:
                return False
        return True

    def up(self, service: str, environment: dict[str, str]) -> None:
        """Start the service's container and wait until it is healthy."""
        # Both services' first containers make the project's network, which only one can.
        with self._creating:
            self._run(["create", service], environment)
        self._run(["up", "--detach", "--wait", service], environment)

    def down(self, *, purge: bool) -> None:
        """Remove the project's containers; with `purge` their volumes too."""
        self._run(["down", *(["--volumes"] if purge else [])], {})

    def _run(self, arguments: list[str], environment: dict[str, str]) -> None:
        finished = subprocess.run(
            ["docker", "compose", "--project-name", self._project, "--file", str(COMPOSE_FILE), *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise StackError(
                f"`docker compose {' '.join(arguments)}` failed; stop Docker to use native servers instead.\n"
                f"{finished.stderr.strip()}"
            )


class ComposeRole:
    """PostgreSQL or RabbitMQ in a container whose port is published on loopback.

    Args:
        password: of the server's first user.
        services_password: of PostgreSQL's role for services.
    """

    source = "docker"

    def __init__(
        self, name: str, *, compose: Compose, port: int, password: str, services_password: str
    ) -> None:
        self.name = name
        self._compose = compose
        self._port = port
        self._password = password
        self._services_password = services_password

    def prepare(self) -> None:
        prefix = self.name.upper()
        self._compose.up(self.name, {f"{prefix}_PORT": str(self._port), f"{prefix}_PASSWORD": self._password})

    def programs(self) -> list[Program]:
        return []

    def ping(self) -> None:
        if self.name == "postgres":
            ping_database(self._superuser_url)
        else:
            ping_broker(self.variables()["RABBITMQ_URL"])

    def complete(self) -> None:
        """Make the services' role and database; RabbitMQ's image makes its user by itself."""
        if self.name == "postgres":
            make_database(
                self._superuser_url, owner=OWNER, password=self._services_password, database=DATABASE
            )

    def variables(self) -> dict[str, str]:
        if self.name == "postgres":
            return {"DATABASE_URL": self._database_url(OWNER, self._services_password, DATABASE)}
        return {"RABBITMQ_URL": f"amqp://{USER}:{quote(self._password, safe='')}@127.0.0.1:{self._port}/"}

    @property
    def _superuser_url(self) -> str:
        return self._database_url(SUPERUSER, self._password, "postgres")

    def _database_url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self._port}/{database}"

    def describe(self) -> str:
        title = "PostgreSQL" if self.name == "postgres" else "RabbitMQ"
        return f"{title} in Docker on 127.0.0.1:{self._port}"
