"""The other commands of a tenant."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from tests.integration.jettyspeed.conftest import Account, Site, hash_of
from tests.support.waiting import eventually

MEGABYTE = 1_000_000


async def test_a_folder_is_uploaded_file_by_file(site: Site, account: Account) -> None:
    files = [account.file(1000 + number, f"folder/part-{number}.bin") for number in range(3)]
    outcome = await account.run("upload", str(account.folder / "folder"), "--json")
    told = {Path(found["file"]): found for found in map(json.loads, outcome.out.splitlines())}
    assert {path: found["asset"]["content_hash"] for path, found in told.items()} == {
        file: hash_of(file) for file in files
    }
    assert {found["asset"]["cache_key"] for found in told.values()} == {
        f"folder/{file.name}" for file in files
    }


async def test_several_files_are_told_of_in_a_line_each(site: Site, account: Account) -> None:
    names = [account.file(1000 + number, f"folder/part-{number}.bin").name for number in range(3)]
    outcome = await account.run("upload", str(account.folder / "folder"), "--accelerate", "--verbose")
    lines = [line.strip() for line in outcome.out.splitlines()]
    assert lines[0] == "JettySpeed Enabled"
    assert sorted(line.split()[1].rpartition("/")[2] for line in lines[1:4]) == names
    assert lines[-1].startswith("[✓] 3 of 3 files stored in ")


async def test_the_same_command_goes_on_with_a_folder(site: Site, account: Account) -> None:
    # Many small files beside one that takes as long as the links let it.
    for number in range(40):
        account.file(1000 + number, f"folder/part-{number}.bin")
    large = account.file(90 * MEGABYTE, "folder/film.mp4")
    arguments = ("upload", str(account.folder / "folder"), "--accelerate", "--json")
    command = await account.start(*arguments)
    await account.reached(0.3)
    await command.kill()
    site.set_rate(None)
    outcome = await account.run(*arguments)
    assert outcome.code == 0, outcome.out + outcome.err
    told = {Path(found["file"]).name: found for found in map(json.loads, outcome.out.splitlines())}
    assert len(told) == 41
    assert sum(found["route"] == "skipped" for found in told.values()) > 0
    assert told["film.mp4"]["resumed_bytes"] > 0
    assert told["film.mp4"]["asset"]["content_hash"] == hash_of(large)
    again = await account.run(*arguments)
    assert {json.loads(line)["route"] for line in again.out.splitlines()} == {"skipped"}


async def test_a_limit_holds_over_all_connections(site: Site, account: Account) -> None:
    site.set_rate(None)
    told = await account.done(
        "upload", str(account.file(12 * MEGABYTE)), "--accelerate", "--limit-rate", "4M"
    )
    assert told["route"] == "jettyspeed"
    assert told["seconds"] > 12 * MEGABYTE / (4 * 2**20) - 0.5


async def test_a_glob_takes_what_it_matches(site: Site, account: Account) -> None:
    wanted = account.file(1000, "a.jpg")
    account.file(1000, "b.png")
    told = await account.done("upload", "--file", str(account.folder / "*.jpg"))
    assert told["asset"]["content_hash"] == hash_of(wanted)


async def test_stdin_is_uploaded_under_the_given_name(site: Site, account: Account) -> None:
    file = account.file(3 * MEGABYTE)
    command = await account.start("upload", "--file", "-", "--name", "piped.bin", "--json", piped=True)
    out, _ = await command.process.communicate(file.read_bytes())
    told = json.loads(out)
    assert told["asset"]["filename"] == "piped.bin"
    assert told["asset"]["content_hash"] == hash_of(file)
    assert told["size_bytes"] == file.stat().st_size


async def test_one_bad_file_does_not_keep_the_others_back(site: Site, account: Account) -> None:
    good = account.file(1000)
    bad = account.file(1000, "unreadable")
    bad.unlink()
    bad.symlink_to(account.folder / "nowhere")
    outcome = await account.run("upload", "--file", str(good), "--file", str(bad), "--json")
    assert outcome.code == 1
    told = [json.loads(line) for line in outcome.out.splitlines()]
    refused, stored = sorted(told, key=lambda found: found["success"])
    assert stored["asset"]["content_hash"] == hash_of(good)
    assert refused["code"] == "file_unreadable"


async def test_files_arrive_under_their_names(site: Site, account: Account) -> None:
    site.set_rate(None)
    names = ["my file (1).txt", "naïve ü + 100%.txt", 'say "hi"; really.txt']
    for name in names:
        told = await account.done("upload", "--file", str(account.file(1000, name)))
        assert told["asset"]["filename"] == name
    large = account.file(6 * MEGABYTE, names[1])
    assert (await account.done("upload", "--file", str(large), "--accelerate"))["asset"]["filename"] == names[
        1
    ]


async def test_a_download_is_the_asset_byte_by_byte(site: Site, account: Account) -> None:
    file = account.file(40 * MEGABYTE)
    stored = await account.done("upload", "--file", str(file))
    target = account.folder / "back.bin"
    told = await account.done("download", stored["asset"]["id"], "--output", str(target))
    assert told["received_bytes"] == file.stat().st_size
    assert hash_of(target) == hash_of(file)
    assert [path.name for path in account.folder.glob("back.bin*")] == ["back.bin"]


async def test_a_killed_download_goes_on_where_it_was(site: Site, account: Account) -> None:
    file = account.file(48 * MEGABYTE)
    stored = await account.done("upload", "--file", str(file))
    target = account.folder / "back.bin"
    journal = account.folder / "back.bin.part.json"
    arguments = ("download", stored["asset"]["id"], "--output", str(target))
    # Range by range, and slowly: the last are still to come when the first is done.
    account.environment["JETTYSPEED_MAX_THREADS"] = "2"
    command = await account.start(*arguments, "--limit-rate", "8M")

    def done_ranges() -> int:
        return len(json.loads(journal.read_text())["done"]) if journal.exists() else 0

    await eventually(done_ranges, timeout_seconds=30, poll_seconds=0.002)
    await command.kill()
    done = done_ranges()
    told = await account.done(*arguments)
    assert told["received_bytes"] <= file.stat().st_size - done * 8 * 2**20 + 8 * 2**20
    assert told["received_bytes"] < file.stat().st_size
    assert hash_of(target) == hash_of(file)


async def test_a_download_by_cache_key_takes_the_assets_name(site: Site, account: Account) -> None:
    file = account.file(1000, "thumb.jpg")
    await account.done("upload", "--file", str(file), "--cache-key", "thumb:1")
    file.rename(account.folder / "original")
    await account.done("download", "--cache-key", "thumb:1")
    assert hash_of(account.folder / "thumb.jpg") == hash_of(account.folder / "original")


async def test_ls_lists_and_rm_deletes(site: Site, account: Account) -> None:
    stored = await account.done("upload", "--file", str(account.file(1000)))
    assert (await account.done("ls"))["id"] == stored["asset"]["id"]
    assert await account.done("rm", stored["asset"]["id"]) == {
        "success": True,
        "deleted": stored["asset"]["id"],
    }
    assert (await account.run("ls", "--json")).out == ""


async def test_quota_tells_what_is_used(site: Site, account: Account) -> None:
    await account.done("upload", "--file", str(account.file(12_345)))

    async def counted() -> bool:
        return bool((await account.done("quota"))["storage"]["used_bytes"] == 12_345)

    await eventually(counted, timeout_seconds=30)
    assert "JettySpeed Enabled" in (await account.run("quota")).out


async def test_unfinished_uploads_are_listed_and_can_be_given_up(site: Site, account: Account) -> None:
    file = account.file(60 * MEGABYTE)
    command = await account.start("upload", "--file", str(file), "--accelerate")
    # By its first chunk the command has noted which file the session belongs to.
    await eventually(lambda: site.chunk_numbers, timeout_seconds=30)
    await command.kill()
    listed = await account.done("uploads", "list")
    assert listed["file"] == str(file)
    await account.done("uploads", "abort", listed["id"])
    assert (await account.run("uploads", "list", "--json")).out == ""


async def test_login_keeps_the_credentials_for_their_owner_alone(site: Site, account: Account) -> None:
    given = account.environment
    nobody = {"JETTYTHUNDER_API_KEY": "", "JETTYTHUNDER_API_SECRET": "", "JETTYTHUNDER_API_URL": ""}
    assert "jettythunder login" in (await account.run("quota", environment=nobody)).err
    command = await account.start(
        "login", "--api-url", given["JETTYTHUNDER_API_URL"], piped=True, environment=nobody
    )
    typed = f"{given['JETTYTHUNDER_API_KEY']}\n{given['JETTYTHUNDER_API_SECRET']}\n"
    out, err = await command.process.communicate(typed.encode())
    assert command.process.returncode == 0, err
    assert given["JETTYTHUNDER_API_SECRET"].encode() not in out + err
    assert stat.S_IMODE(account.config_file.stat().st_mode) == 0o600
    assert (await account.run("quota", environment=nobody)).code == 0


async def test_wrong_credentials_are_not_kept(site: Site, account: Account) -> None:
    outcome = await account.run("login", "--api-key", "jt_test_wrong", "--api-secret", "jts_wrong")
    assert outcome.code == 1
    assert not account.config_file.exists()
