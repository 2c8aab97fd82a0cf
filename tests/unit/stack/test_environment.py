"""The env file keeps what is written into it, for shells and for the stack."""

import subprocess
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jettythunder_dev.environment import read_environment, write_environment

values = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=values)
def test_any_value_is_read_back_as_it_was(tmp_path: Path, value: str) -> None:
    write_environment(tmp_path / "env", tmp_path / "env", {"FIRST": "1", "VALUE": value})
    assert read_environment(tmp_path / "env") == {"FIRST": "1", "VALUE": value}


def test_a_shell_sees_the_value(tmp_path: Path) -> None:
    value = 'it\'s $HOME, "quoted" # and `run`'
    write_environment(tmp_path / "env", tmp_path / "env", {"VALUE": value})
    script = f'. {tmp_path / "env"}; printf %s "$VALUE"'
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == value


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    write_environment(tmp_path / "env", tmp_path / "env", {"SECRET": "s"})
    assert (tmp_path / "env").stat().st_mode & 0o777 == 0o600
