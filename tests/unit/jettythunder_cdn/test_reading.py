"""Reading through the desktop CDN over HTTP: what is fetched and answered, when the gateway is asked."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from tests.support.cdn import Bytes, Cdn, Clock, Gateway, asset_of, running_cdn
from tests.support.waiting import eventually

from jettythunder_cdn.listening import MOST_CONNECTIONS
from jettythunder_cdn.model import BLOCK_BYTES

FILM = Bytes(5 * BLOCK_BYTES + 1234)


def blocks_of(ranges: list[str]) -> Counter[int]:
    """How often each block was asked for."""
    found: Counter[int] = Counter()
    for given in ranges:
        first, _, last = given.removeprefix("bytes=").partition("-")
        assert int(first) % BLOCK_BYTES == 0
        found.update(range(int(first) // BLOCK_BYTES, int(last) // BLOCK_BYTES + 1))
    return found


async def test_the_first_read_fetches_each_block_once_and_the_second_none(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    first = await cdn.get("/v1/assets/film")
    assert (first.status, first.headers["X-Cache"]) == (200, "MISS")
    assert first.body == FILM.read(0, FILM.size_bytes)
    assert blocks_of(gateway.ranges()) == Counter(range(6))
    before = len(gateway.requests)
    second = await cdn.get("/v1/assets/film")
    assert (second.status, second.headers["X-Cache"]) == (200, "HIT")
    assert second.body == first.body
    assert second.headers["ETag"] == f'"{FILM.sha256()}"'
    assert second.headers["Content-Type"] == "video/mp4"
    assert second.headers["Age"] == "0"
    assert "cache;desc=" in second.headers["Server-Timing"]
    assert len(gateway.requests) == before


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-4195", 100, 4196),
        (f"bytes={BLOCK_BYTES - 1}-{BLOCK_BYTES}", BLOCK_BYTES - 1, BLOCK_BYTES + 1),
        ("bytes=-100", FILM.size_bytes - 100, FILM.size_bytes),
        (f"bytes={3 * BLOCK_BYTES}-", 3 * BLOCK_BYTES, FILM.size_bytes),
        ("bytes=5-999999999999", 5, FILM.size_bytes),
    ],
)
async def test_ranges_are_answered_cold_and_warm(
    gateway: Gateway, cdn: Cdn, wanted: str, start: int, stop: int
) -> None:
    gateway.add("film", FILM)
    for _ in range(2):
        answer = await cdn.get("/v1/assets/film", Range=wanted)
        assert answer.status == 206
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{FILM.size_bytes}"
        assert answer.body == FILM.read(start, stop)


async def test_ranges_outside_and_conditions(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    etag = f'"{FILM.sha256()}"'
    outside = await cdn.get("/v1/assets/film", Range=f"bytes={FILM.size_bytes}-")
    assert (outside.status, outside.headers["Content-Range"]) == (416, f"bytes */{FILM.size_bytes}")
    assert (await cdn.get("/v1/assets/film", If_None_Match=etag)).status == 304
    assert (await cdn.get("/v1/assets/film", If_Match='"other"')).status == 412
    other = await cdn.get("/v1/assets/film", Range="bytes=0-9", If_Range='"other"')
    assert (other.status, len(other.body)) == (200, FILM.size_bytes)
    same = await cdn.get("/v1/assets/film", Range="bytes=0-9", If_Range=etag)
    assert (same.status, same.body) == (206, FILM.read(0, 10))
    head = await cdn.get("/v1/assets/film", method="HEAD")
    assert (head.status, head.headers["Content-Length"], head.body) == (200, str(FILM.size_bytes), b"")


async def test_an_empty_asset_is_an_empty_answer(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("empty", Bytes(0))
    answer = await cdn.get("/v1/assets/empty")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


async def test_a_small_read_of_a_large_cold_asset_fetches_one_block(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("large", Bytes(1_000_000_000), etag="asset-large")
    at = 700 * BLOCK_BYTES + 5000
    answer = await cdn.get("/v1/assets/large", Range=f"bytes={at}-{at + 4095}")
    assert answer.body == Bytes(1_000_000_000).read(at, at + 4096)
    assert gateway.ranges() == [f"bytes={700 * BLOCK_BYTES}-{701 * BLOCK_BYTES - 1}"]
    assert cdn.cache.figures.upstream_bytes == BLOCK_BYTES


async def test_a_reader_that_goes_on_has_blocks_fetched_ahead(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", Bytes(30 * BLOCK_BYTES), etag="asset-film")
    for number in range(4):
        wanted = f"bytes={number * BLOCK_BYTES}-{(number + 1) * BLOCK_BYTES - 1}"
        await cdn.get("/v1/assets/film", Range=wanted)
    # Two ahead of the second one, then four, then eight; never a block twice.
    assert blocks_of(gateway.ranges()) == Counter(range(12))


async def test_a_thousand_readers_of_a_cold_asset_cause_one_read_per_block(
    gateway: Gateway, cdn: Cdn
) -> None:
    gateway.add("film", FILM)
    gateway.gate.clear()
    ranges = [f"bytes={n % 5 * BLOCK_BYTES}-{n % 5 * BLOCK_BYTES + 9}" for n in range(500)]
    whole = [asyncio.create_task(cdn.get("/v1/assets/film")) for _ in range(20)]
    parts = [asyncio.create_task(cdn.get("/v1/assets/film", Range=wanted)) for wanted in ranges]
    more = [asyncio.create_task(cdn.get("/v1/assets/film", Range=wanted)) for wanted in ranges[:480]]
    # As many as are let in at once; the others follow.
    await eventually(lambda: cdn.cache.flights.readers >= MOST_CONNECTIONS)
    gateway.gate.set()
    answers = await asyncio.gather(*whole, *parts, *more)
    assert {answer.status for answer in answers[20:]} == {206}
    assert {hashlib.sha256(answer.body).hexdigest() for answer in answers[:20]} == {FILM.sha256()}
    for wanted, answer in zip(ranges, answers[20:520], strict=True):
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        assert answer.body == FILM.read(start, start + 10)
    assert max(blocks_of(gateway.ranges()).values()) == 1
    assert sum(method == "HEAD" for method, _, _ in gateway.requests) == 1


async def test_the_right_is_asked_for_again_after_a_minute(gateway: Gateway, cdn: Cdn, clock: Clock) -> None:
    gateway.add("film", FILM)
    await cdn.get("/v1/assets/film")
    clock.now += 59
    assert (await cdn.get("/v1/assets/film")).headers["X-Cache"] == "HIT"
    clock.now += 2
    before = len(gateway.requests)
    answer = await cdn.get("/v1/assets/film")
    assert (answer.headers["X-Cache"], answer.headers["Age"]) == ("REVALIDATED", "61")
    method, _, headers = gateway.requests[before]
    assert (method, headers["If-None-Match"]) == ("HEAD", f'"{FILM.sha256()}"')
    assert len(gateway.requests) == before + 1


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_refusal_ends_the_right_at_once(
    gateway: Gateway, cdn: Cdn, clock: Clock, status: int
) -> None:
    gateway.add("film", FILM)
    await cdn.get("/v1/assets/film")
    clock.now += 61
    gateway.status = status
    assert (await cdn.get("/v1/assets/film")).status == status
    gateway.status, gateway.is_down = None, True
    # Nor is it given later, when nobody can be asked.
    assert (await cdn.get("/v1/assets/film")).status == 503
    assert (cdn.cache.store.allocated_bytes == 0) == (status in (404, 410))


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_account_reads_nothing_else_either(
    gateway: Gateway, cdn: Cdn, clock: Clock, status: int
) -> None:
    gateway.add("film", FILM)
    gateway.add("other", Bytes(2000, seed=1))
    await cdn.get("/v1/assets/film")
    await cdn.get("/v1/assets/other")
    clock.now += 61
    gateway.status = status
    assert (await cdn.get("/v1/assets/film")).status == status
    gateway.status, gateway.is_down = None, True
    assert (await cdn.get("/v1/assets/other")).status == 503
    gateway.is_down = False
    assert (await cdn.get("/v1/assets/other")).headers["X-Cache"] == "REVALIDATED"


async def test_a_refusal_of_a_block_ends_the_right_too(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    await cdn.get("/v1/assets/film", Range="bytes=0-9")
    gateway.status = 403
    assert (await cdn.get("/v1/assets/film", Range=f"bytes={3 * BLOCK_BYTES}-")).status == 403
    assert (await cdn.get("/v1/assets/film", Range="bytes=0-9")).status == 403


async def test_offline_a_verified_asset_is_given_within_the_grace(
    gateway: Gateway, cdn: Cdn, clock: Clock
) -> None:
    gateway.add("film", FILM)
    gateway.add("part", Bytes(3 * BLOCK_BYTES, seed=3))
    await cdn.get("/v1/assets/film")
    await cdn.get("/v1/assets/part", Range="bytes=0-9")
    gateway.is_down = True
    clock.now += 3600
    answer = await cdn.get("/v1/assets/film", Range="bytes=5-5004")
    assert (answer.headers["X-Cache"], answer.body) == ("STALE", FILM.read(5, 5005))
    assert (await cdn.get("/v1/assets/part", Range="bytes=0-9")).status == 503
    assert (await cdn.get("/v1/assets/unknown")).status == 503
    clock.now += 86_400
    assert (await cdn.get("/v1/assets/film")).status == 503


async def test_offline_a_missing_block_ends_the_connection_and_not_the_answer(
    gateway: Gateway, cdn: Cdn, clock: Clock
) -> None:
    gateway.add("film", FILM)
    await cdn.get("/v1/assets/film")
    path = next((cdn.settings.folder / "blocks").glob("*/*/4"))
    path.unlink()
    clock.now += 61
    gateway.is_down = True
    with pytest.raises(aiohttp.ClientPayloadError):
        await cdn.get("/v1/assets/film")


async def test_an_answer_that_breaks_off_is_fetched_again_or_aborted(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    gateway.cut_after = 3 * BLOCK_BYTES
    answer = await cdn.get("/v1/assets/film")
    assert answer.body == FILM.read(0, FILM.size_bytes)
    gateway.add("other", Bytes(4 * BLOCK_BYTES, seed=9))
    gateway.cut_after = 100_000
    with pytest.raises(aiohttp.ClientPayloadError):
        await cdn.get("/v1/assets/other")


async def test_a_proxy_that_ignores_range_is_refused(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    gateway.ignores_range = True
    answer = await cdn.get("/v1/assets/film", Range=f"bytes={2 * BLOCK_BYTES}-")
    assert answer.status == 502
    assert cdn.cache.figures.upstream_bytes == 0


async def test_a_claimed_hash_that_gets_verified_keeps_its_blocks(
    gateway: Gateway, cdn: Cdn, clock: Clock
) -> None:
    gateway.add("film", FILM, etag="asset-film")
    await cdn.get("/v1/assets/film")
    gateway.etags["film"] = FILM.sha256()
    clock.now += 61
    before = len(gateway.ranges())
    answer = await cdn.get("/v1/assets/film")
    assert (answer.body, answer.headers["ETag"]) == (FILM.read(0, FILM.size_bytes), f'"{FILM.sha256()}"')
    assert len(gateway.ranges()) == before
    content = cdn.cache.store.index.content(FILM.sha256())
    assert content is not None
    assert content.verified


async def test_an_etag_that_changes_in_between_is_noticed(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM, etag="other")
    await cdn.get("/v1/assets/film", Range="bytes=0-9")
    gateway.etags["film"] = FILM.sha256()
    answer = await cdn.get("/v1/assets/film", Range=f"bytes={2 * BLOCK_BYTES}-{2 * BLOCK_BYTES + 9}")
    assert answer.body == FILM.read(2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 10)
    assert answer.headers["ETag"] == f'"{FILM.sha256()}"'


async def test_wrong_bytes_are_dropped_and_counted(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM, etag=Bytes(5, seed=5).sha256())
    assert (await cdn.get("/v1/assets/film")).status == 200
    assert cdn.cache.store.allocated_bytes == 0
    assert cdn.cache.figures.wrong_hashes == 1


async def test_flipped_bits_on_the_disk_are_found_and_fetched_again(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    await cdn.get("/v1/assets/film")
    files = sorted((cdn.settings.folder / "blocks").glob("*/*/*"), key=lambda file: int(file.name))
    for place, file in enumerate(files):
        content = bytearray(file.read_bytes())
        content[place * 17 % len(content)] ^= 1
        file.write_bytes(content)
    before = len(gateway.ranges())
    answers = await asyncio.gather(*(cdn.get("/v1/assets/film") for _ in range(20)))
    assert {hashlib.sha256(answer.body).hexdigest() for answer in answers} == {FILM.sha256()}
    assert blocks_of(gateway.ranges()[before:]) == Counter(range(6))
    assert cdn.cache.figures.damaged_blocks == 6
    # What is counted is what the disk has.
    assert cdn.cache.store.allocated_bytes == cdn.cache.store.index.allocated_bytes()
    assert (await cdn.get("/v1/assets/film")).headers["X-Cache"] == "HIT"


async def test_a_damaged_block_costs_the_others_nothing(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    await cdn.get("/v1/assets/film")
    first, *_, last = sorted((cdn.settings.folder / "blocks").glob("*/*/*"), key=lambda file: int(file.name))
    for file in (first, last):
        file.write_bytes(bytes(file.stat().st_size))
    before = len(gateway.ranges())
    # With the first block there are all blocks again, and the whole is compared with its hash.
    assert (await cdn.get("/v1/assets/film", Range="bytes=0-9")).status == 206
    assert await cdn.cache.store.verify(asset_of(FILM)) is None
    assert (await cdn.get("/v1/assets/film")).body == FILM.read(0, FILM.size_bytes)
    assert blocks_of(gateway.ranges()[before:]) == Counter([0, 5])
    assert (cdn.cache.figures.damaged_blocks, cdn.cache.figures.wrong_hashes) == (2, 0)


async def test_equal_bytes_are_kept_once(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    gateway.add("copy", FILM)
    await cdn.get("/v1/assets/film")
    before = len(gateway.ranges())
    assert (await cdn.get("/v1/assets/copy")).body == FILM.read(0, FILM.size_bytes)
    assert len(gateway.ranges()) == before


async def test_a_cache_key_is_looked_up_each_time(gateway: Gateway, cdn: Cdn, clock: Clock) -> None:
    gateway.add("one", FILM)
    gateway.add("two", Bytes(100, seed=1))
    gateway.cache_keys["films/new"] = "one"
    assert (await cdn.get("/v1/cache/films/new")).body == FILM.read(0, FILM.size_bytes)
    gateway.cache_keys["films/new"] = "two"
    assert (await cdn.get("/v1/cache/films/new")).body == Bytes(100, seed=1).read(0, 100)
    gateway.is_down = True
    answer = await cdn.get("/v1/cache/films/new")
    assert (answer.headers["X-Cache"], len(answer.body)) == ("STALE", 100)
    gateway.is_down = False
    assert (await cdn.get("/v1/cache/unknown")).status == 404


async def test_the_budget_holds_and_what_was_not_used_for_longest_goes(
    gateway: Gateway, clock: Clock, tmp_path: Path
) -> None:
    for number in range(4):
        gateway.add(f"a{number}", Bytes(2 * BLOCK_BYTES, seed=number))
    async with running_cdn(tmp_path, gateway.url, clock=clock, budget_bytes=6 * BLOCK_BYTES + 65_536) as cdn:
        for name in ("a0", "a1", "a2", "a0", "a3"):
            clock.now += 1
            await cdn.get(f"/v1/assets/{name}")
            kept = {asset for kept in cdn.cache.store.index.contents(9) for asset in kept.asset_ids}
        assert kept == {"a0", "a2", "a3"}
        assert cdn.cache.store.allocated_bytes <= cdn.settings.budget_bytes
        assert (await cdn.get("/v1/pins/a2", method="POST")).status == 200
        for name in ("a1", "a0", "a3"):
            clock.now += 1
            await cdn.get(f"/v1/assets/{name}")
        await cdn.get("/v1/clear", method="POST")
        kept = {asset for kept in cdn.cache.store.index.contents(9) for asset in kept.asset_ids}
        assert kept == {"a2"}
        assert (await cdn.get("/v1/pins/a2", method="DELETE")).status == 200
        await cdn.get("/v1/clear", method="POST")
        assert cdn.cache.store.allocated_bytes == 0


async def test_what_does_not_fit_passes_through(gateway: Gateway, clock: Clock, tmp_path: Path) -> None:
    large = gateway.add("large", Bytes(12 * BLOCK_BYTES + 5, seed=8))
    async with running_cdn(tmp_path, gateway.url, clock=clock, budget_bytes=2 * BLOCK_BYTES + 65_536) as cdn:
        for _ in range(2):
            answer = await cdn.get("/v1/assets/large")
            assert answer.body == large.read(0, large.size_bytes)
        assert cdn.cache.store.allocated_bytes <= cdn.settings.budget_bytes
        assert answer.headers["X-Cache"] in ("PARTIAL", "BYPASS")


async def test_the_figures_say_what_was_saved(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    for _ in range(3):
        await cdn.get("/v1/assets/film")
    async with cdn.http.get(f"{cdn.url}/stats", headers={"Authorization": f"Bearer {cdn.token}"}) as answer:
        stats = await answer.json()
    assert stats["saved_bytes"] == 2 * FILM.size_bytes
    assert stats["fetched_bytes"] == FILM.size_bytes
    assert stats["since_start"]["answers"] == {"MISS": 1, "HIT": 2}


async def test_where_even_the_index_can_t_be_written_bytes_pass_through(gateway: Gateway, cdn: Cdn) -> None:
    gateway.add("film", FILM)
    gateway.add("other", Bytes(2000, seed=1))
    await cdn.get("/v1/assets/other")
    with closing(sqlite3.connect(cdn.settings.folder / "index.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for _ in range(2):
            answer = await cdn.get("/v1/assets/film")
            assert (answer.status, answer.body) == (200, FILM.read(0, FILM.size_bytes))
        # A refusal holds all the same.
        gateway.status = 403
        assert (await cdn.get("/v1/assets/film")).status == 403
        assert (await cdn.get("/v1/cache/unknown")).status == 403
        assert (await cdn.get("/stats")).status == 200
        gateway.status, gateway.is_down = None, True
        assert (await cdn.get("/v1/assets/film")).status == 503
        gateway.is_down = False
    await cdn.get("/v1/assets/film")
    assert (await cdn.get("/v1/assets/film")).headers["X-Cache"] == "HIT"
    with closing(sqlite3.connect(cdn.settings.folder / "index.sqlite")) as other:
        # Nothing is held back in a transaction that never ends.
        assert other.execute("SELECT count(*) FROM blocks").fetchone() == (7,)
