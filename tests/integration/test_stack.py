"""The developer stack's commands as one types them, on real servers in a data folder of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from tests.support.infrastructure import Infrastructure, choose_first_port, temporary_folder
from tests.support.waiting import eventually_sync

from jettythunder_dev.layout import find_layout
from jettythunder_dev.stack import is_ready
from jettythunder_dev.supervisor import MARKER, Supervisor


@dataclass(frozen=True)
class Commands:
    """The command line, with a data folder, a gateway port and an environment of its own."""

    data_dir: Path
    gateway_port: int

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        settings = {"JETTYTHUNDER_DATA_DIR": str(self.data_dir), "GATEWAY_PORT": str(self.gateway_port)}
        return subprocess.run(
            [sys.executable, "-m", "jettythunder_cli.main", "stack", *arguments],
            env={**kept, **settings, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def json(self, *arguments: str, **environment: str) -> Any:
        """The --json result of a command that has to succeed."""
        finished = self.run(*arguments, "--json", **environment)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return json.loads(finished.stdout)

    def prepare(self) -> None:
        """Make the data folder, in which the S3 server's packages are those of all stacks."""
        shared_cache = find_layout(None, {}).cache
        shared_cache.mkdir(parents=True, exist_ok=True)
        self.data_dir.mkdir(mode=0o711)
        (self.data_dir / "cache").symlink_to(shared_cache)

    def pids(self) -> dict[str, int]:
        """The processes of the running programs."""
        return {program["name"]: program["pid"] for program in self.json("status")["programs"]}

    def processes(self) -> list[psutil.Process]:
        """All processes that belong to the data folder, whoever their parent is."""
        return [
            process
            for process in psutil.process_iter(["environ", "ppid"])
            if (process.info["environ"] or {}).get(MARKER) == str(self.data_dir)
        ]


@pytest.fixture
def commands() -> Iterator[Commands]:
    """A data folder in which nothing was started yet; what a test leaves running there is ended."""
    with fresh_data_folder() as made:
        yield made


@pytest.fixture(scope="module")
def shared() -> Iterator[Commands]:
    with fresh_data_folder() as made:
        yield made


@pytest.fixture
def started(shared: Commands) -> Commands:
    """A data folder whose servers run. Those that a test leaves running there are the next one's too."""
    if not shared.data_dir.exists():
        shared.prepare()
    if Supervisor(find_layout(shared.data_dir, {})).pid() is None:
        shared.json("up", "--infra-only")
    return shared


@dataclass(frozen=True)
class Whole:
    """A stack with its services, and what `up` said of it."""

    commands: Commands
    settings: dict[str, str]
    summary: Any


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    """All services with three workers, for tests that change nothing but what later ones do not look at.

    The last test of this module ends them.
    """
    with fresh_data_folder() as made:
        settings = {"EDGE_BUDGET_BYTES": "20000000"}
        yield Whole(made, settings, made.json("up", "--workers", "3", **settings))


@contextmanager
def fresh_data_folder() -> Iterator[Commands]:
    with temporary_folder() as folder:
        made = Commands((folder / "stack").resolve(), choose_first_port())
        made.prepare()
        try:
            yield made
        finally:
            made.run("down")


def test_the_env_file_leads_a_shell_to_the_three_servers(started: Commands) -> None:
    script = (
        f". {started.data_dir / 'env'};"
        ' psql "$DATABASE_URL" -Atc "SELECT current_database()" &&'
        f" {Path(sys.executable).parent / 'aws'} s3 ls --endpoint-url=$LYVE_ENDPOINT &&"
        " echo ${RABBITMQ_URL%%:*}"
    )
    shell = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert shell.stdout.split() == ["jettythunder", "amqp"], shell.stderr


def test_up_leaves_every_service_ready_and_as_many_workers_as_asked_for(whole: Whole) -> None:
    assert set(whole.summary["services"]) == {
        "storage-gateway",
        "provisioning",
        "usage-meter",
        "operations",
        "chunk-worker-1",
        "chunk-worker-2",
        "chunk-worker-3",
    }
    for url in whole.summary["services"].values():
        assert is_ready(url)


def test_services_get_what_they_read_and_commands_find_them(whole: Whole) -> None:
    given = psutil.Process(whole.commands.pids()["chunk-worker-2"]).environ()
    assert (given["EDGE_ID"], given["EDGE_BUDGET_BYTES"]) == ("edge-2", "20000000")
    foreign = {"JETTYTHUNDER_MASTER_KEY", "JETTYTHUNDER_SIGNING_KEYS", "AGENTCACHE_WEBHOOK_SECRET"}
    assert foreign & given.keys() == set()
    if whole.summary["roles"]["rabbitmq"]["source"] == "native":
        assert given["RABBITMQ_URL"].startswith("amqp://jettythunder-chunk-worker:")
    variables = _shell_environment(whole.commands.data_dir / "env")
    assert variables["JETTYTHUNDER_USAGE_METER_URL"] == whole.summary["services"]["usage-meter"]


def test_up_again_with_fewer_workers_touches_nothing_else(whole: Whole) -> None:
    before = whole.commands.pids()
    whole.commands.json("up", "--workers", "2", **whole.settings)
    assert whole.commands.pids() == {name: pid for name, pid in before.items() if name != "chunk-worker-3"}


def test_a_service_that_refuses_its_settings_is_told_with_its_own_last_words(whole: Whole) -> None:
    finished = whole.commands.run("up", RATE_LIMIT_WINDOW_MS="0", **whole.settings)
    assert finished.returncode == 1
    assert "storage-gateway ended at its start" in finished.stderr
    assert "RATE_LIMIT_WINDOW_MS" in finished.stderr


def test_up_on_a_running_stack_says_so_and_restarts_nothing(started: Commands) -> None:
    before = started.pids()
    assert started.json("up", "--infra-only")["already_running"]
    assert started.pids() == before


def test_up_from_a_shell_that_loaded_the_env_file_still_means_the_same_servers(started: Commands) -> None:
    loaded = {
        name: value
        for name, value in _shell_environment(started.data_dir / "env").items()
        if name.startswith(("DATABASE_", "RABBITMQ_", "LYVE_", "JETTYTHUNDER_"))
    }
    again = started.json("up", "--infra-only", **loaded)
    assert {role["source"] for role in again["roles"].values()} == {"native"}


def _shell_environment(env_file: Path) -> dict[str, str]:
    """What a shell's environment consists of after loading the file."""
    script = f'. {env_file}; exec "$0" -c "import json, os; print(json.dumps(dict(os.environ)))"'
    printed = subprocess.run(["sh", "-c", script, sys.executable], capture_output=True, text=True, check=True)
    environment: dict[str, str] = json.loads(printed.stdout)
    return environment


def test_a_gateway_port_in_use_is_one_sentence_that_names_its_holder(commands: Commands) -> None:
    with socket.create_server(("127.0.0.1", commands.gateway_port)):
        finished = commands.run("up")
    assert finished.returncode == 1
    assert f"Port {commands.gateway_port} is in use by" in finished.stderr
    assert f"(pid {os.getpid()})" in finished.stderr
    assert "GATEWAY_PORT=" in finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr


def test_a_database_that_does_not_answer_is_warned_of_and_replaced(started: Commands) -> None:
    summary = started.json("up", "--infra-only", DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert summary["roles"]["postgres"]["source"] == "native"
    assert summary["warnings"][0].startswith("DATABASE_URL is set but nothing usable answers there")


def test_servers_that_answer_are_used_and_outlive_the_stack(
    commands: Commands, infrastructure: Infrastructure
) -> None:
    theirs = {
        name: infrastructure.environment[name]
        for name in (
            "DATABASE_URL",
            "RABBITMQ_URL",
            "LYVE_ENDPOINT",
            "LYVE_REGION",
            "LYVE_ACCESS_KEY_ID",
            "LYVE_SECRET_ACCESS_KEY",
        )
    }
    summary = commands.json("up", "--infra-only", **theirs)
    assert {role["source"] for role in summary["roles"].values()} == {"external"}
    commands.json("down", **theirs)
    for role in infrastructure.stack.roles.values():
        role.ping()


def test_the_result_and_the_status_tell_no_secret(started: Commands) -> None:
    printed = started.run("up", "--infra-only", "--json").stdout + started.run("status", "--json").stdout
    variables = _shell_environment(started.data_dir / "env")
    for name in ("JETTYTHUNDER_MASTER_KEY", "LYVE_SECRET_ACCESS_KEY", "DATABASE_URL", "RABBITMQ_URL"):
        assert variables[name] not in printed


def test_status_of_a_stack_that_does_not_run_is_told_by_its_exit_code(commands: Commands) -> None:
    assert commands.run("status").returncode == 3


def test_logs_of_an_unknown_program_name_those_there_are(started: Commands) -> None:
    finished = started.run("logs", "gateway")
    assert finished.returncode == 1
    assert "There is no log of `gateway`" in finished.stderr
    assert "rabbitmq" in finished.stderr


def test_up_recovers_from_a_process_manager_that_was_killed(started: Commands) -> None:
    manager = int((started.data_dir / "run" / "supervisord.pid").read_text())
    os.kill(manager, signal.SIGKILL)
    eventually_sync(lambda: not psutil.pid_exists(manager))
    started.json("up", "--infra-only")
    assert {process.info["ppid"] for process in started.processes()} & {1, os.getpid()} <= {1}
    assert all(pid is not None for pid in started.pids().values())


def test_down_leaves_no_process_and_the_next_up_finds_the_data(started: Commands) -> None:
    database_url = _shell_environment(started.data_dir / "env")["DATABASE_URL"]
    with psycopg.connect(database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    assert started.json("down")["kept"] == str(started.data_dir)
    assert started.processes() == []
    started.json("up", "--infra-only")
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_purge_leaves_neither_process_nor_data(started: Commands) -> None:
    assert started.json("down", "--purge")["removed"] == str(started.data_dir)
    assert started.processes() == []
    assert not started.data_dir.exists()


def test_down_ends_what_a_killed_process_manager_left_behind(whole: Whole) -> None:
    left = whole.commands
    manager = int((left.data_dir / "run" / "supervisord.pid").read_text())
    os.kill(manager, signal.SIGKILL)
    eventually_sync(lambda: not psutil.pid_exists(manager))
    left.json("down")
    assert left.processes() == []
