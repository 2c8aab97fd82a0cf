"""All of JettyThunder in containers, as deploy/compose starts it, on ports and with secrets of its own."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.support.infrastructure import choose_first_port

from jettythunder_dev.container_secrets import make_secrets
from jettythunder_dev.environment import read_environment
from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.ports import PortAllocator

FOLDER = REPOSITORY / "deploy" / "compose"
PORTS = (
    "GATEWAY",
    "POSTGRES",
    "RABBITMQ",
    "RABBITMQ_2",
    "RABBITMQ_3",
    "S3",
    "PROVISIONING",
    "USAGE_METER",
    "OPERATIONS",
    "PROMETHEUS",
    "ZIPKIN",
)


@dataclass(frozen=True)
class Composed:
    """A compose project. ``variables`` are those of its file; ``environment`` leads to its servers."""

    project: str
    files: tuple[str, ...]
    variables: dict[str, str]
    environment: dict[str, str]

    @property
    def base_url(self) -> str:
        """The balancer, as callers reach it."""
        return self.url("GATEWAY")

    def url(self, port: str) -> str:
        """A server, by the variable of its port without `_PORT`."""
        return f"http://127.0.0.1:{self.variables[f'{port}_PORT']}"

    def compose(self, *arguments: str) -> str:
        """Run a compose command; what it printed."""
        files = [part for name in self.files for part in ("--file", str(FOLDER / name))]
        return _run(["docker", "compose", "-p", self.project, *files, *arguments], self.variables)

    def up(self, *arguments: str) -> float:
        """Start what is not running and wait until it is healthy; the seconds it took."""
        began = time.monotonic()
        self.compose("up", "--detach", "--wait", "--wait-timeout", "240", *arguments)
        return time.monotonic() - began

    def names(self, service: str) -> list[str]:
        """The containers of a service."""
        lines = self.compose("ps", "--all", "--format", "json", service).splitlines()
        return sorted(json.loads(line)["Name"] for line in lines)

    def stop(self, container: str) -> tuple[float, int]:
        """Stop a container as an engine does; the seconds it took, and its exit code."""
        began = time.monotonic()
        # No container is killed within this time: it is longer than any time to drain.
        _run(["docker", "stop", "--time", "310", container])
        code = _run(["docker", "inspect", "--format", "{{.State.ExitCode}}", container])
        return time.monotonic() - began, int(code)

    def kill(self, container: str) -> None:
        """SIGKILL to a container's processes; it stays away until :meth:`start`."""
        _run(["docker", "kill", "--signal", "KILL", container])

    def start(self, container: str) -> None:
        """Start a container that was stopped or killed."""
        _run(["docker", "start", container])

    def is_healthy(self, container: str) -> bool:
        """Whether its health check was passed since it started."""
        return (
            _run(["docker", "inspect", "--format", "{{.State.Health.Status}}", container]).strip()
            == "healthy"
        )

    def log(self, container: str) -> str:
        """Everything that a container has written."""
        done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
        return done.stdout + done.stderr


@contextlib.contextmanager
def composed(
    *, files: tuple[str, ...] = ("compose.yaml",), variables: Mapping[str, str] | None = None
) -> Iterator[Composed]:
    """A project that is not started yet; it is removed with its volumes afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="jettythunder-secrets-") as folder,
        closing(PortAllocator(remembered={}, held={})) as allocator,
    ):
        first = choose_first_port()
        ports = {f"{name}_PORT": str(allocator.choose(name, first)) for name in PORTS}
        given = {**ports, "SECRETS": folder, **(variables or {})}
        make_secrets(Path(folder), ports=ports)
        allocator.close()
        project = Composed(
            f"jettythunder-test-{os.getpid()}", files, given, read_environment(Path(folder) / "env")
        )
        try:
            yield project
        finally:
            project.compose("down", "--volumes", "--timeout", "10")


def _run(command: list[str], variables: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, **(variables or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
