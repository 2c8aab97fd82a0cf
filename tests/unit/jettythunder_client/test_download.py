"""A download replaces nothing that it was not told to, and writes where it was told to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.support.gateway_in_memory import Gateway

from jettythunder_client import AsyncClient
from jettythunder_client.errors import FileExists, FileUnwritable


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "folder"
    made.mkdir()
    return made


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_an_asset_takes_its_name_in_a_folder(
    gateway: Gateway, client: AsyncClient, folder: Path
) -> None:
    result = await client.download(asset_id=gateway.add("../../up/film.mp4", b"film"), target=folder)
    assert result.path == folder / "film.mp4"
    assert (folder / "film.mp4").read_bytes() == b"film"
    assert names(folder) == ["film.mp4"]


async def test_a_file_is_replaced_only_when_told_so(
    gateway: Gateway, client: AsyncClient, folder: Path
) -> None:
    asset_id = gateway.add("film.mp4", b"new")
    file = folder / "film.mp4"
    file.write_bytes(b"precious")
    for target in (folder, file):
        with pytest.raises(FileExists, match="--force"):
            await client.download(asset_id=asset_id, target=target)
    assert file.read_bytes() == b"precious"
    assert not [path for path, _ in gateway.requests if path == "/api/storage/download"]
    await client.download(asset_id=asset_id, target=file, overwrite=True)
    assert (file.read_bytes(), names(folder)) == (b"new", ["film.mp4"])


@pytest.mark.parametrize("overwrite", [False, True])
async def test_devices_pipes_and_sockets_are_never_replaced(
    gateway: Gateway, client: AsyncClient, folder: Path, overwrite: bool
) -> None:
    asset_id = gateway.add("film.mp4")
    os.mkfifo(folder / "pipe")
    (folder / "null").symlink_to("/dev/null")
    for name, kind in (("pipe", "a pipe"), ("null", "a device")):
        with pytest.raises(FileUnwritable, match=f"is {kind}"):
            await client.download(asset_id=asset_id, target=folder / name, overwrite=overwrite)
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)
    assert (folder / "null").is_symlink()


@pytest.mark.parametrize("filename", [".bashrc", "..", "folder/.ssh", "x\\.profile"])
async def test_hidden_files_are_the_user_s_choice(
    gateway: Gateway, client: AsyncClient, folder: Path, filename: str
) -> None:
    asset_id = gateway.add(filename)
    with pytest.raises(FileUnwritable, match="--output"):
        await client.download(asset_id=asset_id, target=folder)
    await client.download(asset_id=asset_id, target=folder / ".chosen")
    assert names(folder) == [".chosen"]


async def test_control_characters_of_a_name_are_not_written(
    gateway: Gateway, client: AsyncClient, folder: Path
) -> None:
    await client.download(asset_id=gateway.add("a\x1b[2J\nb"), target=folder)
    assert names(folder) == ["a_[2J_b"]


@pytest.mark.parametrize("length", [245, 246, 254, 255])
async def test_names_of_any_length_are_written(
    gateway: Gateway, client: AsyncClient, folder: Path, length: int
) -> None:
    name = "ü" * (length // 2) + "x" * (length % 2)
    await client.download(asset_id=gateway.add(name, b"film"), target=folder)
    assert names(folder) == [name]


async def test_a_part_file_is_reached_through_no_link(
    gateway: Gateway, client: AsyncClient, folder: Path
) -> None:
    precious = folder / "precious"
    precious.write_bytes(b"precious")
    (folder / "film.mp4.part").symlink_to(precious)
    with pytest.raises(FileUnwritable, match=r"film\.mp4\.part"):
        await client.download(asset_id=gateway.add("film.mp4"), target=folder)
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize("name", ["film.mp4.part", "film.mp4.part.json"])
async def test_a_file_that_no_download_left_stays(
    gateway: Gateway, client: AsyncClient, folder: Path, name: str
) -> None:
    (folder / name).write_bytes(b"precious")
    with pytest.raises(FileUnwritable, match="belongs to no download"):
        await client.download(asset_id=gateway.add("film.mp4"), target=folder)
    assert (folder / name).read_bytes() == b"precious"
