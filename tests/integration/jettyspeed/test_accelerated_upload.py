"""What an accelerated upload promises whatever happens on the way."""

from __future__ import annotations

import asyncio
import os
import re
from http import HTTPStatus
from pathlib import Path

import pytest
from tests.integration.jettyspeed.conftest import GATEWAY, Account, Site, hash_of, provisioned
from tests.support.links import Link

CHUNK_BYTES = 5 << 20


def staggered(account: Account, chunk_count: int, *, at_once: int = 3) -> Path:
    """A file, sent by so few at once that the last chunks are still to come when the first are there."""
    account.environment["JETTYSPEED_MAX_THREADS"] = str(at_once)
    return account.file(chunk_count * CHUNK_BYTES)


async def test_the_stored_bytes_are_the_files(site: Site, account: Account) -> None:
    site.set_rate(None)
    file = account.file(8 * CHUNK_BYTES + 12_345)
    result = await account.done("upload", "--file", str(file), "--accelerate")
    assert result["route"] == "jettyspeed"
    assert result["chunk_count"] == 9
    assert result["asset"]["content_hash"] == hash_of(file)
    assert await account.stored_hash(result["asset"]["id"]) == hash_of(file)


async def test_all_edges_carry_chunks(site: Site, account: Account) -> None:
    result = await account.done("upload", "--file", str(account.file(7 * CHUNK_BYTES)), "--accelerate")
    assert sorted(result["edges"]) == ["link-1", "link-2", "link-3"]
    assert set(site.chunk_numbers) == set(range(1, 8))


async def test_after_kill_9_no_acknowledged_chunk_is_sent_again(site: Site, account: Account) -> None:
    file = staggered(account, 15)
    acknowledged: set[int] = set()
    for share in (0.5, 0.8):
        command = await account.start("upload", "--file", str(file), "--accelerate", "--resume", "--json")
        await account.reached(share)
        await command.kill()
        assert acknowledged & set(site.chunk_numbers) == set()
        # Chunks that were wholly on their way may still arrive; the links end that.
        await site.reset()
        acknowledged = {chunk["number"] for chunk in (await account.reached(share))["received"]}
        assert len(acknowledged) >= share * 15

    site.set_rate(None)
    result = await account.done("upload", "--file", str(file), "--resume")
    assert acknowledged & set(site.chunk_numbers) == set()
    assert result["resumed_bytes"] == len(acknowledged) * CHUNK_BYTES
    assert result["resumed_bytes"] + result["sent_bytes"] == file.stat().st_size
    assert await account.stored_hash(result["asset"]["id"]) == hash_of(file)


async def test_after_kill_9_what_the_storage_itself_took_is_not_sent_again(
    site: Site, account: Account, direct_link: Link
) -> None:
    file = staggered(account, 18, at_once=6)
    command = await account.start("upload", "--file", str(file), "--accelerate", "--json")
    await account.reached(0.5)
    await command.kill()
    await direct_link.die()
    await direct_link.open()
    await site.reset()
    upload = await account.reached(0.5)
    recorded = {chunk["number"] for chunk in upload["received"]}
    sent_directly = set(direct_link.part_numbers)
    assert recorded & sent_directly

    site.set_rate(None)
    direct_link.set_rate(None)
    direct_link.requests.clear()
    result = await account.done("upload", "--file", str(file), "--resume")
    assert recorded & set(site.chunk_numbers + direct_link.part_numbers) == set()
    assert result["resumed_bytes"] == upload["received_bytes"]
    assert await account.stored_hash(result["asset"]["id"]) == hash_of(file)


async def test_tokens_are_renewed_before_they_expire(
    site: Site, account: Account, short_lived_link: Link
) -> None:
    # Over links of this rate the last of these chunks, three at once, can't begin before the first tokens
    # must be renewed. Where all begin together, they all begin with the first tokens.
    account.environment["JETTYSPEED_MAX_THREADS"] = "3"
    file = account.file(18 * CHUNK_BYTES)
    result = await account.done("upload", "--file", str(file), "--accelerate")
    asked = [line for line in short_lived_link.requests if line.endswith("/tokens")]
    assert len(asked) >= 2
    assert HTTPStatus.FORBIDDEN not in [status for link in site.links for status in link.statuses]
    assert await account.stored_hash(result["asset"]["id"]) == hash_of(file)


async def test_resume_without_a_file_finishes_what_is_unfinished(site: Site, account: Account) -> None:
    file = staggered(account, 9)
    command = await account.start("upload", "--file", str(file), "--accelerate")
    await account.reached(0.2)
    await command.kill()
    site.set_rate(None)
    result = await account.done("upload", "--resume")
    assert result["file"] == str(file)
    assert await account.stored_hash(result["asset"]["id"]) == hash_of(file)
    assert await account.sessions() == []


async def test_an_edge_that_dies_costs_nothing_but_time(site: Site, account: Account) -> None:
    file = staggered(account, 10)
    command = await account.start("upload", "--file", str(file), "--accelerate", "--json")
    await account.reached(0.2)
    await site.links[0].die()
    site.set_rate(None)
    outcome = await command.finish()
    assert outcome.code == 0, outcome.out + outcome.err
    assert await account.stored_hash(outcome.answer["asset"]["id"]) == hash_of(file)


async def test_a_killed_edge_costs_nothing_but_time(site: Site, account: Account) -> None:
    file = staggered(account, 10)
    command = await account.start("upload", "--file", str(file), "--accelerate", "--json")
    await account.reached(0.2)
    site.kill_edge(0)
    site.set_rate(None)
    outcome = await command.finish()
    await asyncio.to_thread(site.start_edge, 0)
    assert outcome.code == 0, outcome.out + outcome.err
    assert outcome.answer["retries"] >= 1
    assert await account.stored_hash(outcome.answer["asset"]["id"]) == hash_of(file)


async def test_an_edge_that_stalls_costs_nothing_but_time(site: Site, account: Account) -> None:
    file = staggered(account, 10)
    command = await account.start("upload", "--file", str(file), "--accelerate", "--json")
    await account.reached(0.2)
    site.links[1].stall()
    site.set_rate(None)
    outcome = await command.finish()
    assert outcome.code == 0, outcome.out + outcome.err
    assert await account.stored_hash(outcome.answer["asset"]["id"]) == hash_of(file)


async def test_a_kept_connection_that_was_closed_is_no_failure(site: Site, account: Account) -> None:
    # So few at once that one of them, whichever is the fastest, sends several over its connection.
    account.environment["JETTYSPEED_MAX_THREADS"] = "3"
    site.set_rate(None)
    file = account.file(9 * CHUNK_BYTES)
    for link in site.links:
        link.hang_ups_left = 2
    result = await account.done("upload", "--file", str(file), "--accelerate")
    assert sum(link.hang_ups_left for link in site.links) <= 4
    assert result["retries"] == 0
    assert await account.stored_hash(result["asset"]["id"]) == hash_of(file)


async def test_a_gateway_that_restarts_in_between_is_waited_for(site: Site, account: Account) -> None:
    file = staggered(account, 10)
    command = await account.start("upload", "--file", str(file), "--accelerate", "--json")
    await account.reached(0.2)
    await asyncio.to_thread(site.services.kill, GATEWAY)
    await asyncio.to_thread(site.services.start, GATEWAY)
    site.set_rate(None)
    outcome = await command.finish()
    assert outcome.code == 0, outcome.out + outcome.err
    assert await account.stored_hash(outcome.answer["asset"]["id"]) == hash_of(file)


@pytest.mark.chaos
async def test_rabbitmq_may_restart_in_between(site: Site, account: Account) -> None:
    file = staggered(account, 10)
    command = await account.start("upload", "--file", str(file), "--accelerate", "--json")
    await account.reached(0.2)
    # In a thread: the links are served by this loop, and the upload goes on meanwhile.
    await asyncio.to_thread(site.services.infrastructure.kill, "rabbitmq")
    await asyncio.to_thread(site.services.infrastructure.start, "rabbitmq")
    site.set_rate(None)
    outcome = await command.finish()
    assert outcome.code == 0, outcome.out + outcome.err
    assert await account.stored_hash(outcome.answer["asset"]["id"]) == hash_of(file)


async def test_a_chunk_that_is_spoilt_on_the_way_is_sent_again(site: Site, account: Account) -> None:
    site.set_rate(None)
    file = account.file(8 * CHUNK_BYTES)
    site.links[2].flips_left = 1
    result = await account.done("upload", "--file", str(file), "--accelerate")
    assert site.links[2].flips_left == 0
    assert result["retries"] >= 1
    assert len(site.chunk_numbers) > 8
    assert await account.stored_hash(result["asset"]["id"]) == hash_of(file)


async def test_a_tier_without_jettyspeed_gets_the_standard_upload(site: Site, tmp_path: Path) -> None:
    account = await provisioned(site, tmp_path, "starter")
    file = account.file(2 * CHUNK_BYTES)
    outcome = await account.run("upload", "--file", str(file), "--accelerate")
    assert outcome.code == 0, outcome.err
    assert "tier does not include JettySpeed" in outcome.out
    assert "standard upload" in outcome.out
    assert "JettySpeed Enabled" not in outcome.out
    assert site.chunk_numbers == []
    stored = (await account.get("/api/storage/assets"))["assets"]
    assert [asset["content_hash"] for asset in stored] == [hash_of(file)]


async def test_a_file_that_changed_since_is_not_resumed(site: Site, account: Account) -> None:
    file = staggered(account, 9)
    command = await account.start("upload", "--file", str(file), "--accelerate")
    await account.reached(0.2)
    await command.kill()
    with file.open("r+b") as opened:
        opened.write(b"changed")
    outcome = await account.run("upload", "--file", str(file), "--resume", "--json")
    assert outcome.code == 1
    assert outcome.answer["code"] == "file_changed"


async def test_bytes_changed_behind_an_unchanged_time_are_sent_again(site: Site, account: Account) -> None:
    file = staggered(account, 9)
    command = await account.start("upload", "--file", str(file), "--accelerate")
    received = (await account.reached(0.3))["received"]
    await command.kill()
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek((received[0]["number"] - 1) * CHUNK_BYTES)
        opened.write(b"changed")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    site.set_rate(None)
    result = await account.done("upload", "--file", str(file), "--resume")
    assert await account.stored_hash(result["asset"]["id"]) == hash_of(file)


async def test_a_file_that_changes_meanwhile_is_not_stored(site: Site, account: Account) -> None:
    file = staggered(account, 9)
    command = await account.start("upload", "--file", str(file), "--accelerate", "--json")
    await account.reached(0.2)
    with file.open("r+b") as opened:
        opened.write(b"changed")
    site.set_rate(None)
    outcome = await command.finish()
    assert outcome.code == 1
    assert outcome.answer["code"] == "file_changed"
    assert await account.sessions() == []


async def test_bytes_that_are_stored_already_are_not_sent(site: Site, account: Account) -> None:
    site.set_rate(None)
    file = account.file(3 * CHUNK_BYTES)
    await account.done("upload", "--file", str(file), "--accelerate")
    passed = len(site.chunk_numbers)
    result = await account.done("upload", "--file", str(file), "--accelerate")
    assert result["route"] == "already_stored"
    assert result["sent_bytes"] == 0
    assert len(site.chunk_numbers) == passed


async def test_the_lines_tell_what_was_measured(site: Site, account: Account) -> None:
    # Slow enough for a busy machine to carry all three at once.
    site.set_rate(5e6)
    file = account.file(24 * CHUNK_BYTES)
    outcome = await account.run("upload", "--file", str(file), "--accelerate")
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert lines[0].strip() == "JettySpeed Enabled"
    assert lines[1:3] == ["[✓] Split into 24 chunks", "[✓] Routing to 3 edge locations"]
    assert re.fullmatch(r"\[✓\] Upload speed: [\d.]+ MB/s \([\d.]+x faster than standard\)", lines[3])
    assert re.fullmatch(r"\[✓\] Complete in [\d.]+ seconds", lines[4])


async def test_without_a_measured_single_stream_nothing_is_compared(site: Site, account: Account) -> None:
    file = account.file(4 * CHUNK_BYTES)
    outcome = await account.run("upload", "--file", str(file), "--accelerate")
    assert re.search(r"^\[✓\] Upload speed: [\d.]+ MB/s$", outcome.out, re.MULTILINE)


async def test_quiet_prints_nothing(site: Site, account: Account) -> None:
    site.set_rate(None)
    outcome = await account.run(
        "upload", "--file", str(account.file(3 * CHUNK_BYTES)), "--accelerate", "--quiet"
    )
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")
