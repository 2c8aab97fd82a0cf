"""What is written for the servers' and supervisor's own readers means what was meant."""

from pathlib import Path

import pytest
from supervisor.datatypes import dict_of_key_value_pairs

from jettythunder_dev.errors import StackError
from jettythunder_dev.rabbitmq import server_applications
from jettythunder_dev.supervisor import render_value


@pytest.mark.parametrize("value", ["plain", "", "with, comma", "it's", 'a "word" of', "a=b&c=d", "päth/ö"])
def test_supervisor_reads_the_value_that_was_written(value: str) -> None:
    assert dict_of_key_value_pairs(render_value("NAME", value)) == {"NAME": value}


def test_percent_signs_are_not_taken_for_placeholders() -> None:
    assert render_value("NAME", "50%") == 'NAME="50%%"'


@pytest.mark.parametrize("value", ["both ' and \"", "two\nlines", "'quoted'", "a #comment", "a ;comment"])
def test_a_value_that_supervisor_would_garble_is_refused_by_name(value: str) -> None:
    with pytest.raises(StackError, match=r"^NAME begins"):
        render_value("NAME", value)


def describe(plugins: Path, name: str, *needed: str) -> Path:
    folder = plugins / f"{name}-1.0" / "ebin"
    folder.mkdir(parents=True)
    (folder / f"{name}.app").write_text(f"{{application, {name}, [{{applications, [{','.join(needed)}]}}]}}.")
    return folder.parent


def test_the_broker_is_started_with_what_it_needs_and_no_other_plugin(tmp_path: Path) -> None:
    needed = {
        describe(tmp_path, "rabbit", "kernel", "ra"),
        describe(tmp_path, "ra", "seshat"),
        describe(tmp_path, "seshat", "kernel"),
    }
    describe(tmp_path, "rabbitmq_mqtt", "rabbit")
    assert set(server_applications(tmp_path)) == needed


def test_a_broker_of_packed_plugins_is_started_with_all_of_them(tmp_path: Path) -> None:
    packed = {tmp_path / "rabbit-1.0.ez", tmp_path / "rabbitmq_mqtt-1.0.ez"}
    for archive in packed:
        archive.touch()
    assert set(server_applications(tmp_path)) == packed
