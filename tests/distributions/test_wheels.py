"""Both wheels, built and installed each in an empty environment, with the pinned packages of the lock."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SERVER_PACKAGES = {
    "fastapi",
    "asyncpg",
    "aioboto3",
    "faststream",
    "pydantic",
    "aio-pika",
    "httpx",
    "jettythunder",
}
OPERATORS_COMMANDS = {"contracts", "db", "dead-letters", "events", "keys", "usage"}
TENANT_COMMANDS = {"upload", "uploads", "download", "quota", "ls", "rm", "login", "logout", "cdn"}


def run(*command: str | Path, **environment: str) -> str:
    """What a command prints; it must succeed."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        command,
        cwd="/",
        env={**inherited, "COLUMNS": "80", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def uv(*arguments: str | Path) -> str:
    return run(Path(sys.executable).with_name("uv"), *arguments)


@dataclass(frozen=True)
class Environment:
    """A virtual environment with one of the wheels in it."""

    folder: Path

    @property
    def packages(self) -> set[str]:
        listed = json.loads(uv("pip", "list", "--format", "json", "--python", self.folder, "--quiet"))
        return {package["name"] for package in listed}

    def python(self, code: str) -> str:
        return run(self.folder / "bin" / "python", "-c", code)

    def jettythunder(self, *arguments: str) -> str:
        return run(self.folder / "bin" / "jettythunder", *arguments)

    def commands(self) -> set[str]:
        """The commands that are there and can be loaded."""
        printed = self.python(
            "from jettythunder_cli.main import Commands\n"
            "for name, command in Commands().items():\n"
            "    print(name, 'missing' if 'be loaded' in str(command.help) else 'there')\n"
        )
        return {line.split()[0] for line in printed.splitlines() if line.endswith(" there")}


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels by distribution, built by the build backend of this environment, which the lock pins."""
    folder = tmp_path_factory.mktemp("wheels")
    for source in (REPOSITORY / "cli", REPOSITORY):
        uv(
            "build",
            "--wheel",
            "--no-build-isolation",
            "--python",
            sys.executable,
            "--out-dir",
            folder,
            source,
        )
    return {wheel.name.partition("-")[0]: wheel for wheel in folder.glob("*.whl")}


def installed(folder: Path, *wheels: Path) -> Environment:
    """An environment with these wheels and what they need."""
    uv("venv", "--quiet", "--python", sys.executable, folder)
    constraints = REPOSITORY / "requirements.lock"
    uv("pip", "install", "--quiet", "--python", folder, "--constraint", constraints, *wheels)
    return Environment(folder)


@pytest.fixture(scope="module")
def client(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return installed(tmp_path_factory.mktemp("client") / "venv", wheels["jettythunder_client"])


@pytest.fixture(scope="module")
def server(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return installed(tmp_path_factory.mktemp("server") / "venv", *wheels.values())


def project(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return found


def test_both_distributions_have_one_version() -> None:
    client, server = project(REPOSITORY / "cli"), project(REPOSITORY)
    assert client["version"] == server["version"]
    assert f"jettythunder-client=={client['version']}" in server["dependencies"]


def test_the_client_brings_nothing_of_the_server(client: Environment) -> None:
    assert client.packages & SERVER_PACKAGES == set()


def test_the_client_has_the_tenant_commands_and_no_others(client: Environment) -> None:
    shown = client.jettythunder("--help")
    assert client.commands() == TENANT_COMMANDS
    assert {name for name in OPERATORS_COMMANDS if f" {name} " in shown} == set()
    assert "--accelerate" in client.jettythunder("upload", "--help")


def test_the_client_is_importable_alone(client: Environment) -> None:
    client.python("import jettythunder_client, jettythunder_cli.main, jettythunder_cli.upload")


def test_the_server_contributes_operators_commands(server: Environment) -> None:
    assert server.commands() >= TENANT_COMMANDS | OPERATORS_COMMANDS
    assert "Operators' commands" in server.jettythunder("--help")
    assert "reconcile" in server.jettythunder("usage", "--help")


def test_no_wheel_has_what_belongs_to_the_other(wheels: dict[str, Path]) -> None:
    client, server = (
        {
            name.partition("/")[0]
            for name in zipfile.ZipFile(wheels[wheel]).namelist()
            if "dist-info" not in name
        }
        for wheel in ("jettythunder_client", "jettythunder")
    )
    assert client == {"jettythunder_cdn", "jettythunder_cli", "jettythunder_client"}
    assert client & server == set()


def test_the_server_s_wheel_has_the_migrations(wheels: dict[str, Path]) -> None:
    names = zipfile.ZipFile(wheels["jettythunder"]).namelist()
    assert "jettythunder_migrations/env.py" in names
    assert "jettythunder_migrations/versions/provisioning/0001_accounts.sql" in names
