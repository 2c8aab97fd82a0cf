"""The data folder: found, made, and refused where the stack could not work in it."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from jettythunder_dev import layout as layouts
from jettythunder_dev.errors import StackError
from jettythunder_dev.layout import Layout, find_layout


def test_the_argument_goes_before_the_environment(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(0o755)
    found = find_layout(tmp_path / "a", {"JETTYTHUNDER_DATA_DIR": str(tmp_path / "b")})
    assert found.shown == tmp_path / "a"


def test_a_named_folder_that_postgres_may_not_enter_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stranger = namedtuple("Stranger", "pw_name pw_uid pw_gid")
    monkeypatch.setattr(layouts, "server_user", lambda: Stranger("stranger", 12345, 12345))
    tmp_path.chmod(0o700)
    with pytest.raises(StackError, match=r"`stranger`, who may not enter .*JETTYTHUNDER_DATA_DIR"):
        find_layout(tmp_path / "data", {})


def test_a_full_disk_is_a_sentence_with_the_size_and_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 5_000_000))
    with pytest.raises(StackError, match=r"5 MB free .* at least 1074 MB: .*JETTYTHUNDER_DATA_DIR"):
        Layout(tmp_path, tmp_path).check_free_space()


def test_the_control_socket_of_a_deep_folder_fits_into_a_socket_path(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    assert len(str(Layout(deep, deep).supervisor_socket)) < 100


def test_two_data_folders_have_different_names_on_the_machine() -> None:
    one, other = Path("/data/one"), Path("/data/other")
    assert Layout(one, one).identifier != Layout(other, other).identifier
