"""Files arrive under their names, and credentials go to the gateway alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.gateway_in_memory import Gateway

from jettythunder_client import ApiError, AsyncClient, UploadOptions
from jettythunder_client.errors import FileUnreadable


@pytest.mark.parametrize(
    "name",
    [
        "my file (1).txt",
        "naïve ü + 100%.txt",
        'say "hi"; really.txt',
        "back\\slash.txt",
        "%41%22.txt",
        "漢字 👩",
    ],
)
async def test_a_file_arrives_under_its_very_name(
    gateway: Gateway, client: AsyncClient, tmp_path: Path, name: str
) -> None:
    file = tmp_path / name
    file.write_bytes(b"content")
    result = await client.upload(file)
    assert result.asset["filename"] == name
    assert gateway.assets[result.asset["id"]].content == b"content"


@pytest.mark.parametrize(
    ("name", "sent"), [(b"caf\xe9.txt", "caf\ufffd.txt"), (b"two\nlines\r.txt", "two_lines_.txt")]
)
async def test_a_name_that_can_t_be_sent_is_mended(
    client: AsyncClient, tmp_path: Path, name: bytes, sent: str
) -> None:
    file = tmp_path / os.fsdecode(name)
    file.write_bytes(b"content")
    assert (await client.upload(file)).asset["filename"] == sent


async def test_a_given_name_is_sent_as_it_is(client: AsyncClient, tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.touch()
    assert (await client.upload(file, UploadOptions(filename="b c.txt"))).asset["filename"] == "b c.txt"


async def test_what_is_no_regular_file_is_named(client: AsyncClient, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FileUnreadable, match="is a pipe"):
        await client.upload(pipe)
    with pytest.raises(FileUnreadable, match="is a device"):
        await client.upload(Path("/dev/null"))
    with pytest.raises(FileUnreadable, match="is a folder"):
        await client.upload(tmp_path)


async def test_credentials_follow_no_redirect(gateway: Gateway, client: AsyncClient, tmp_path: Path) -> None:
    elsewhere = Gateway()
    runner = await elsewhere.start()
    gateway.redirect_to = elsewhere.url
    file = tmp_path / "a"
    file.touch()
    try:
        with pytest.raises(ApiError, match="redirects to"):
            await client.upload(file)
        with pytest.raises(ApiError, match="redirects to"):
            await client.api.fetch_asset("a")
    finally:
        await runner.cleanup()
    assert elsewhere.requests == []
