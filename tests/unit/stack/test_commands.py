"""The developer stack's commands explain themselves, and start without what only some of them need."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from jettythunder_dev.commands import app


@pytest.mark.parametrize("name", ["up", "down", "status", "logs", "schema"])
def test_a_command_explains_itself(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Usage:" in shown.output


def test_the_commands_start_without_clients_migrations_and_services() -> None:
    script = "import sys, jettythunder_dev.commands; print(*sys.modules)"
    printed = subprocess.check_output([sys.executable, "-c", script], text=True)
    unwanted = {"aio_pika", "alembic", "botocore", "faststream", "psycopg", "pydantic_settings"}
    assert unwanted & set(printed.split()) == set()
