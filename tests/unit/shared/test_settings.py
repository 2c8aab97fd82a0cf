"""A service without its settings stops with a sentence for each, and says nothing else."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jettythunder.settings import BrokerSettings, load

SERVICES = ("provisioning", "storage_gateway", "chunk_worker", "usage_meter", "operations")


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any settings."""
    for name in os.environ:
        monkeypatch.delenv(name)
    return monkeypatch


def refusal(service: str) -> list[str]:
    """What a service says of its settings when it refuses to start."""
    with pytest.raises(SystemExit) as caught:
        load(importlib.import_module(f"{service}.settings").Settings)
    return str(caught.value).splitlines()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("service", SERVICES)
def test_a_missing_setting_is_named(service: str) -> None:
    lines = refusal(service)
    assert any(line.startswith("DATABASE_URL is not set") for line in lines)
    assert all(" is not set" in line for line in lines)


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_setting_is_named_without_its_value(environment: pytest.MonkeyPatch, service: str) -> None:
    environment.setenv("DATABASE_URL", "mysql://user:hunter2@nowhere/")
    lines = refusal(service)
    assert any(line.startswith("DATABASE_URL has a value that is not allowed") for line in lines)
    assert not any("hunter2" in line for line in lines)


def test_a_service_says_it_on_stderr_and_nothing_else() -> None:
    # svcs imports Starlette's test client where httpx is installed, and that warns about httpx's version.
    serve = ["-m", "jettythunder.http.serve", "storage_gateway.main:app", "--port", "0"]
    command = [sys.executable, "-W", "ignore", *serve]
    stopped = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=False)
    assert stopped.returncode != 0
    assert stopped.stdout == ""
    lines = stopped.stderr.strip().splitlines()
    assert any(line.startswith("DATABASE_URL is not set") for line in lines)
    assert all(" is not set" in line for line in lines)


@pytest.mark.parametrize(
    ("age", "days", "is_refused"),
    [
        ("30D", "90", False),
        ("90D", "90", True),
        ("1Y", "90", True),
        ("2160h", "90", True),
        ("24h", "2", False),
    ],
)
def test_the_inbox_is_kept_longer_than_the_event_log(
    environment: pytest.MonkeyPatch, age: str, days: str, is_refused: bool
) -> None:
    environment.setenv("RABBITMQ_URL", "amqp://nobody@localhost/")
    environment.setenv("EVENT_LOG_MAX_AGE", age)
    environment.setenv("INBOX_KEEP_DAYS", days)
    if not is_refused:
        load(BrokerSettings)
        return
    with pytest.raises(SystemExit, match="INBOX_KEEP_DAYS is "):
        load(BrokerSettings)


def test_a_secret_may_be_a_file(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "rabbitmq_url").write_text("amqp://file@localhost/\n")
    environment.setenv("JETTYTHUNDER_SECRETS_DIR", str(tmp_path))
    assert load(BrokerSettings).rabbitmq_url.get_secret_value() == "amqp://file@localhost/"
    environment.setenv("RABBITMQ_URL", "amqp://variable@localhost/")
    assert load(BrokerSettings).rabbitmq_url.get_secret_value() == "amqp://variable@localhost/"


def test_a_folder_of_secrets_that_is_not_there_is_none(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment.setenv("JETTYTHUNDER_SECRETS_DIR", str(tmp_path / "none"))
    environment.setenv("RABBITMQ_URL", "amqp://variable@localhost/")
    assert load(BrokerSettings).rabbitmq_url.get_secret_value() == "amqp://variable@localhost/"
