"""A service without its settings stops with a sentence for each, and says nothing else."""

import subprocess
import sys

import pytest

SERVICES = ("provisioning", "storage_gateway", "chunk_worker", "usage_meter")


def start_without(service: str, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    # svcs imports Starlette's test client where httpx is installed, and that warns about httpx's version.
    serve = ["-m", "jettythunder.http.serve", f"{service}.main:app", "--port", "0"]
    command = [sys.executable, "-W", "ignore", *serve]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("service", SERVICES)
def test_a_missing_setting_is_named(service: str) -> None:
    stopped = start_without(service, {})
    assert stopped.returncode != 0
    lines = stopped.stderr.strip().splitlines()
    assert any(line.startswith("DATABASE_URL is not set") for line in lines)
    assert all(" is not set" in line for line in lines)


def test_a_wrong_setting_is_named_without_its_value() -> None:
    stopped = start_without("usage_meter", {"DATABASE_URL": "mysql://user:hunter2@nowhere/"})
    assert "DATABASE_URL has a value that is not allowed" in stopped.stderr
    assert "hunter2" not in stopped.stderr
