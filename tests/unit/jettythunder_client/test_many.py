"""Folders of files, sent at once, skipped where they are stored, and told one by one."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.gateway_in_memory import Gateway

from jettythunder_client import ApiError, AsyncClient, Folder, Outcome, Selection, UploadOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(200):
        file = folder / f"{number % 7}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(str(number))
    return folder


async def uploaded(client: AsyncClient, *sources: Path | Folder) -> list[Outcome]:
    outcomes: list[Outcome] = []
    await client.upload_all(sources, done=outcomes.append)
    return outcomes


def sent(outcomes: list[Outcome]) -> int:
    return sum(outcome.result is not None for outcome in outcomes)


async def test_all_files_arrive_under_their_paths_as_keys(
    gateway: Gateway, client: AsyncClient, folder: Path
) -> None:
    await uploaded(client, Folder(folder))
    stored = {asset.cache_key: (asset.filename, asset.content) for asset in gateway.assets.values()}
    assert stored == {
        f"photos/{number % 7}/{number}.jpg": (f"{number}.jpg", str(number).encode()) for number in range(200)
    }


async def test_every_connection_is_kept_and_busy(gateway: Gateway, client: AsyncClient, folder: Path) -> None:
    gateway.together = client.config.max_parallel
    async with asyncio.timeout(30):
        await uploaded(client, Folder(folder))
    assert gateway.connections <= client.config.max_parallel + 1


async def test_what_an_earlier_run_stored_is_skipped(
    gateway: Gateway, client: AsyncClient, folder: Path
) -> None:
    gateway.refused_names = frozenset({"5.jpg", "6.jpg"})
    assert sent(await uploaded(client, Folder(folder))) == 198
    gateway.refused_names = frozenset()
    (folder / "0" / "0.jpg").write_text("changed")
    (folder / "0" / "new.jpg").write_text("new")
    again = await uploaded(client, Folder(folder))
    assert sorted(outcome.path.name for outcome in again if outcome.result) == [
        "0.jpg",
        "5.jpg",
        "6.jpg",
        "new.jpg",
    ]
    assert len(again) == 201
    assert sent(await uploaded(client, Folder(folder, again=True))) == 201
    assert sent(await uploaded(client, Folder(folder, key_prefix="other/"))) == 201


async def test_what_the_account_has_no_more_is_sent_again(
    gateway: Gateway, client: AsyncClient, folder: Path
) -> None:
    await uploaded(client, Folder(folder))
    del gateway.assets[next(iter(gateway.assets))]
    assert sent(await uploaded(client, Folder(folder))) == 1


async def test_a_file_that_fails_ends_no_other(gateway: Gateway, client: AsyncClient, folder: Path) -> None:
    gateway.refused_names = frozenset({"7.jpg"})
    (folder / "gone.jpg").symlink_to("nowhere")
    outcomes = await uploaded(client, Folder(folder), folder / "missing.jpg")
    failed = {outcome.path.name: outcome.error.code for outcome in outcomes if outcome.error}
    assert failed == {"7.jpg": "file_too_large", "missing.jpg": "file_unreadable"}
    assert [outcome.path.name for outcome in outcomes if outcome.left_out] == ["gone.jpg"]
    assert sent(outcomes) == 199


async def test_a_refusal_that_concerns_all_ends_all(
    gateway: Gateway, client: AsyncClient, folder: Path
) -> None:
    gateway.problems = [{"status": 401, "code": "unauthenticated"}] * 200
    with pytest.raises(ApiError) as refused:
        await uploaded(client, Folder(folder))
    assert refused.value.code == "unauthenticated"
    assert len(gateway.requests) < 100


async def test_too_many_at_once_is_waited_for_and_fails_nothing(
    gateway: Gateway, client: AsyncClient, tmp_path: Path
) -> None:
    files = [tmp_path / str(number) for number in range(3)]
    for file in files:
        file.write_text(file.name)
    gateway.problems = [{"status": 429, "code": "too_many_uploads"}]
    assert sent(await uploaded(client, *files)) == 3


async def test_a_key_that_is_one_too_many_is_left_away(
    gateway: Gateway, client: AsyncClient, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    gateway.problems = [{"status": 409, "code": "too_many_cache_keys"}]
    (outcome,) = await uploaded(client, Folder(tmp_path, Selection(include=["empty"])))
    assert outcome.without_key
    assert [asset.cache_key for asset in gateway.assets.values()] == [None]


async def test_names_that_are_no_utf8_are_sent_and_remembered(
    gateway: Gateway, client: AsyncClient, tmp_path: Path
) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.txt")).write_text("content")
    await uploaded(client, Folder(folder))
    assert [asset.cache_key for asset in gateway.assets.values()] == ["names/caf\ufffd.txt"]
    assert sent(await uploaded(client, Folder(folder))) == 0


async def test_options_hold_for_every_file(gateway: Gateway, client: AsyncClient, folder: Path) -> None:
    outcomes: list[Outcome] = []
    await client.upload_all([Folder(folder, keys=False)], UploadOptions(ttl_seconds=60), done=outcomes.append)
    assert {asset.cache_key for asset in gateway.assets.values()} == {None}
    assert sent(outcomes) == 200
