"""The command line finds its commands, and imports none that was not called."""

from __future__ import annotations

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from jettythunder_cli.main import COMMANDS, app

_IMPORTED = "import sys; from jettythunder_cli.main import Commands; Commands()['{}']; print(*sys.modules)"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_there_and_explains_itself(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert "Usage:" in shown.output


def test_the_help_lists_all_commands() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    assert [name for name in COMMANDS if f" {name} " not in shown] == []


def test_a_misspelt_command_is_answered_with_the_nearest() -> None:
    shown = CliRunner().invoke(app, ["uplaod"])
    assert shown.exit_code == 2
    assert "Did you mean 'upload'" in shown.output


def test_a_command_does_not_wait_for_what_others_import() -> None:
    script = _IMPORTED.format("upload")
    printed = subprocess.check_output([sys.executable, "-c", script], text=True)
    assert {"faststream", "asyncpg", "pyarrow"} & set(printed.split()) == set()
