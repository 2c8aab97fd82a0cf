"""What is remembered of unfinished uploads."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from jettythunder_client.config import Config
from jettythunder_client.errors import FileUnreadable
from jettythunder_client.state import StateStore, Unfinished, identify


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config("http://localhost:3000", "jt_test_a", "jts_a", state_dir=tmp_path / "state")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    return path


def unfinished(file: Path, upload_id: str = "u1", began_at: float = 1.0) -> Unfinished:
    return Unfinished(upload_id, identify(file), 5_242_880, began_at)


def test_the_latest_upload_of_a_file_is_found(config: Config, file: Path) -> None:
    store = StateStore(config)
    store.save(unfinished(file, "old", 1.0))
    store.save(unfinished(file, "new", 2.0))
    found = store.find(file)
    assert found == unfinished(file, "new", 2.0)


def test_another_account_does_not_see_it(config: Config, file: Path) -> None:
    StateStore(config).save(unfinished(file))
    other = Config(config.api_url, "jt_test_b", "jts_b", state_dir=config.state_dir)
    assert StateStore(other).find(file) is None


def test_a_forgotten_upload_is_gone(config: Config, file: Path) -> None:
    store = StateStore(config)
    store.save(unfinished(file))
    store.forget("u1")
    assert store.all() == []


def test_a_damaged_file_is_no_upload(config: Config, file: Path) -> None:
    store = StateStore(config)
    store.save(unfinished(file))
    (saved,) = config.state_dir.glob("*/upload-u1.json")
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    saved.write_text(saved.read_text()[:20])
    assert store.all() == []


def test_any_change_of_a_file_changes_its_identity(file: Path) -> None:
    before = identify(file)
    os.utime(file, ns=(1, before.modified_ns + 1))
    assert identify(file) != before
    file.write_bytes(b"films")
    os.utime(file, ns=(1, before.modified_ns))
    assert identify(file) != before


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadable):
        identify(tmp_path)
    with pytest.raises(FileUnreadable):
        identify(tmp_path / "nowhere")


@pytest.mark.parametrize("upload_id", ["../../outside", "a/b", "x" * 300, "nul\x00", "."])
def test_an_upload_s_id_leads_nowhere_else(config: Config, file: Path, upload_id: str) -> None:
    store = StateStore(config)
    store.save(unfinished(file, upload_id))
    (saved,) = (path for path in config.state_dir.rglob("*") if path.is_file())
    assert saved.parent.parent == config.state_dir
    assert store.find(file) == unfinished(file, upload_id)
    store.forget(upload_id)
    assert store.all() == []
