"""A tenant's commands against a gateway in memory, on a terminal of 80 columns."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.gateway_in_memory import Gateway


class Outcome(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Tenant:
    """Runs commands in a folder of its own."""

    def __init__(self, gateway: Gateway, folder: Path) -> None:
        self.gateway = gateway
        self.folder = folder
        self._environment = {
            "PATH": os.environ["PATH"],
            "JETTYTHUNDER_API_URL": gateway.url,
            "JETTYTHUNDER_API_KEY": "jt_test_a",
            "JETTYTHUNDER_API_SECRET": "jts_a",
            "JETTYTHUNDER_STATE_DIR": str(folder / "state"),
            "JETTYTHUNDER_CONFIG": str(folder / "config.toml"),
            "COLUMNS": "80",
        }

    async def run(self, *arguments: str, shell: str | None = None) -> Outcome:
        """Run a command; with ``shell`` that line of a shell, where "$@" is the command."""
        command = (sys.executable, "-m", "jettythunder_cli.main", *arguments)
        if shell is not None:
            command = ("bash", "-c", shell, "bash", *command)
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        return Outcome(process.returncode or 0, out.decode(), err.decode())


@pytest.fixture
async def tenant(tmp_path: Path) -> AsyncIterator[Tenant]:
    gateway = Gateway()
    runner = await gateway.start()
    yield Tenant(gateway, tmp_path)
    await runner.cleanup()


async def test_names_from_others_do_nothing_to_the_terminal(tenant: Tenant) -> None:
    tenant.gateway.add("film\x1b[2J\u202e[/red].mp4")
    shown = await tenant.run("ls")
    assert shown.code == 0, shown.err
    assert "\x1b" not in shown.out
    assert "film\\x1b[2J\\u202e[/red].mp4" in shown.out


async def test_ls_keeps_ids_and_figures_whole_at_80_columns(tenant: Tenant) -> None:
    ids = [tenant.gateway.add("a name that is as long as names can be " * 5, b"x" * 123_456) for _ in "ab"]
    lines = (await tenant.run("ls")).out.splitlines()
    assert max(len(line) for line in lines) <= 80
    for asset_id in ids:
        assert any(line.startswith(f"{asset_id}  123 kB  2 h  a name") for line in lines)


async def test_an_unknown_asset_is_an_error_of_the_api(tenant: Tenant) -> None:
    refused = await tenant.run("download", "nowhere", "--json")
    assert refused.code == 1
    assert json.loads(refused.out) == {
        "success": False,
        "code": "asset_not_found",
        "detail": "There is no such asset.",
        "retryable": False,
    }


async def test_a_download_replaces_a_file_only_with_force(tenant: Tenant) -> None:
    asset_id = tenant.gateway.add("film.mp4", b"film")
    file = tenant.folder / "film.mp4"
    file.write_text("precious")
    refused = await tenant.run("download", asset_id)
    assert (refused.code, file.read_text()) == (1, "precious")
    assert "--force" in refused.err
    assert (await tenant.run("download", asset_id, "--force")).code == 0
    assert file.read_text() == "film"


@pytest.mark.parametrize(
    "shell",
    [
        '"$@" upload --json --name x --file <(printf film)',
        'mkfifo pipe; printf film >pipe & "$@" upload --json --name x --file pipe',
        'printf film | "$@" upload --json --name x --file /dev/stdin',
    ],
)
async def test_what_comes_through_a_pipe_is_sent_as_a_stream(tenant: Tenant, shell: str) -> None:
    sent = await tenant.run(shell=shell)
    assert sent.code == 0, sent.out + sent.err
    stored = tenant.gateway.assets[json.loads(sent.out)["asset"]["id"]]
    assert (stored.filename, stored.content) == ("x", b"film")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="there is no /proc")
async def test_a_file_without_a_size_is_sent_with_its_bytes(tenant: Tenant) -> None:
    sent = await tenant.run("upload", "--json", "--file", "/proc/version")
    assert sent.code == 0, sent.out + sent.err
    stored = tenant.gateway.assets[json.loads(sent.out)["asset"]["id"]]
    expected = await asyncio.to_thread(Path("/proc/version").read_bytes)
    assert (stored.filename, stored.content) == ("version", expected)


async def test_a_device_is_refused_in_a_sentence(tenant: Tenant) -> None:
    refused = await tenant.run("upload", "--file", "/dev/zero")
    assert (refused.code, refused.err) == (1, "✗ /dev/zero: /dev/zero is a device, not a regular file.\n")


async def test_a_file_that_is_no_utf8_is_named_and_sent(tenant: Tenant) -> None:
    (tenant.folder / os.fsdecode(b"caf\xe9.txt")).write_text("content")
    sent = await tenant.run("upload", "--file", "caf*.txt")
    assert sent.code == 0, sent.err
    assert [stored.filename for stored in tenant.gateway.assets.values()] == ["caf\ufffd.txt"]


async def test_a_folder_ends_with_a_table_of_what_became_of_its_files(tenant: Tenant) -> None:
    folder = tenant.folder / "photos"
    for name in ("a.jpg", "b.jpg", "sub/c.jpg", "sub/d.txt", ".env"):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    (folder / "link").symlink_to("a.jpg")
    sent = await tenant.run("upload", "photos", "--exclude", "*.txt")
    assert (sent.code, sent.err) == (0, "")
    assert sorted(asset.cache_key or "" for asset in tenant.gateway.assets.values()) == [
        "photos/a.jpg",
        "photos/b.jpg",
        "photos/sub/c.jpg",
    ]
    lines = [line.rstrip() for line in sent.out.splitlines()]
    assert lines[0] == "! photos/link is a symbolic link: left out."
    assert [line.rsplit(maxsplit=3)[0] for line in lines[2:3]] == ["stored"]
    assert lines[3].split() == ["left", "out:", "symbolic", "links", "1"]
    assert lines[4].split() == ["left", "out:", "hidden", "(--hidden", "takes", "them)", "1"]
    assert lines[5].startswith("[✓] 3 of 3 files stored in ")
    again = await tenant.run("upload", "photos", "sub-nowhere", "--json")
    assert (again.code, json.loads(again.out)["code"]) == (1, "file_unreadable")
    again = await tenant.run("upload", "photos")
    assert "stored by an earlier run" in again.out
    assert len(tenant.gateway.assets) == 4


async def test_a_failed_file_is_named_and_the_exit_code_says_so(tenant: Tenant) -> None:
    folder = tenant.folder / "photos"
    folder.mkdir()
    for name in ("good", "bad"):
        (folder / name).write_text(name)
    tenant.gateway.refused_names = frozenset({"bad"})
    sent = await tenant.run("upload", "photos", "--no-keys")
    assert (sent.code, sent.err) == (1, "✗ photos/bad: It is too large.\n")
    assert "[✗] 1 of 2 files stored in " in sent.out
    quiet = await tenant.run("upload", "photos", "--no-keys", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (1, "", sent.err)


async def test_an_empty_folder_is_an_error(tenant: Tenant) -> None:
    (tenant.folder / "empty").mkdir()
    refused = await tenant.run("upload", "empty")
    assert (refused.code, refused.err) == (1, "✗ There are no files in empty.\n")


async def test_several_sources_are_sent_together(tenant: Tenant) -> None:
    (tenant.folder / "a").write_text("a")
    (tenant.folder / "folder").mkdir()
    (tenant.folder / "folder" / "b").write_text("b")
    line = 'printf c | "$@" upload a folder - --json'
    sent = await tenant.run(shell=line)
    assert sent.code == 0, sent.out + sent.err
    stored = {asset.filename: asset.content for asset in tenant.gateway.assets.values()}
    assert stored == {"a": b"a", "b": b"b", "stdin": b"c"}


async def test_a_wrong_limit_is_a_sentence(tenant: Tenant) -> None:
    refused = await tenant.run("upload", "/dev/null", "--limit-rate", "8Mbit")
    assert refused.code == 1
    assert "bytes, not bits" in refused.err


async def test_secrets_in_cleartext_are_warned_of(tenant: Tenant) -> None:
    # A device is refused before anything is sent, so nothing waits for a host that is not there.
    warned = await tenant.run("upload", "--file", "/dev/null", "--api-url", "http://jettythunder.invalid")
    assert "not encrypted" in warned.err
    assert "not encrypted" not in (await tenant.run("ls")).err
