"""The command line finds its commands, imports none that was not called, and says errors in one way."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points

import pytest
from typer.testing import CliRunner

from jettythunder_cli.main import GROUP, TENANT_COMMANDS, app

CONTRIBUTED = sorted(entry.name for entry in entry_points(group=GROUP))
_IMPORTED = "import sys; from jettythunder_cli.main import Commands; Commands()['{}']; print(*sys.modules)"


@pytest.mark.parametrize("name", [*TENANT_COMMANDS, *CONTRIBUTED])
def test_a_command_is_there_and_explains_itself(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Usage:" in shown.output


def test_operators_commands_are_contributed() -> None:
    assert {"contracts", "db", "dead-letters", "events", "keys", "usage"} <= set(CONTRIBUTED)


def test_the_help_lists_all_commands_a_tenants_first() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    places = [shown.find(f" {name} ") for name in (*TENANT_COMMANDS, *CONTRIBUTED)]
    assert -1 not in places
    assert places == sorted(places)


def test_a_misspelt_command_is_answered_with_the_nearest() -> None:
    shown = CliRunner().invoke(app, ["uplaod"])
    assert shown.exit_code == 2
    assert "Did you mean 'upload'" in shown.output


def test_a_command_does_not_wait_for_what_others_import() -> None:
    script = _IMPORTED.format("upload")
    printed = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert {"faststream", "asyncpg", "pyarrow"} & set(printed.split()) == set()


def test_the_client_imports_nothing_of_the_server() -> None:
    script = (
        "import sys, jettythunder_client, jettythunder_cli.main, jettythunder_cli.upload; print(*sys.modules)"
    )
    printed = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert {"jettythunder", "jettythunder_operators", "fastapi", "pydantic"} & set(printed.split()) == set()


@pytest.mark.parametrize(
    ("arguments", "code", "exit_code"),
    [
        (["quota", "--json"], "not_logged_in", 1),
        (["usage", "show", "--json"], "no_operators_token", 1),
        (["dead-letters", "list", "--json"], "invalid_configuration", 1),
        (["quota", "--json", "--no-such-option"], "usage", 2),
        (["download", "--json"], "usage", 2),
        (["usage", "report", "--json", "--from", "2026-02-01", "--to", "2026-01-01"], "usage", 2),
    ],
)
def test_programs_read_every_error_in_one_form(
    arguments: list[str], code: str, exit_code: int, nobody: dict[str, str]
) -> None:
    answered = CliRunner().invoke(app, arguments, env=nobody)
    told = json.loads(answered.stdout)
    assert answered.exit_code == exit_code
    assert (told["success"], told["code"], told["retryable"]) == (False, code, False)
    assert told["detail"]


def test_people_read_errors_on_stderr(nobody: dict[str, str]) -> None:
    answered = CliRunner().invoke(app, ["quota"], env=nobody)
    assert (answered.exit_code, answered.stdout) == (1, "")
    assert answered.stderr.startswith("✗ No credentials: run `jettythunder login`")
