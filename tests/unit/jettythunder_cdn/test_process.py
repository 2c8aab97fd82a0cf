"""The desktop CDN as a process: killed in the middle, started twice, and how much memory it takes."""

from __future__ import annotations

import asyncio
import resource
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from tests.support.cdn import Bytes, CdnProcess, Gateway, cdn_process, environment_in
from tests.support.waiting import eventually

from jettythunder_cdn.errors import AlreadyRunning, PortTaken
from jettythunder_cdn.instance import Lock, running
from jettythunder_cdn.listening import listen
from jettythunder_cdn.model import BLOCK_BYTES

MOST_BYTES = 56 * 1024 * 1024


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as opened:
        yield opened


@pytest.fixture
def environment(gateway: Gateway, tmp_path: Path) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return environment_in(tmp_path, api_url=gateway.url, port=port)


def headers(cdn: CdnProcess) -> dict[str, str]:
    return {"Authorization": f"Bearer {cdn.token}"}


async def test_killed_in_the_middle_it_goes_on_with_what_it_has(
    gateway: Gateway, environment: dict[str, str], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    film = gateway.add("film", Bytes(20 * BLOCK_BYTES + 9, seed=1))
    blocks = tmp_path / "cache" / "blocks"
    async with cdn_process(environment, http) as cdn:
        gateway.cut_after = 5 * BLOCK_BYTES + 1000
        reading = asyncio.create_task(http.get(f"{cdn.url}/v1/assets/film", headers=headers(cdn)))
        await eventually(lambda: len(list(blocks.glob("*/*/[0-9]"))) >= 3)
        await cdn.kill()
        await asyncio.gather(reading, return_exceptions=True)
    assert running(tmp_path / "state" / "cdn") is None
    gateway.cut_after = None
    before = len(gateway.ranges())
    async with (
        cdn_process(environment, http) as cdn,
        http.get(f"{cdn.url}/v1/assets/film", headers=headers(cdn)) as response,
    ):
        assert response.headers["X-Cache"] == "PARTIAL"
        assert await response.read() == film.read(0, film.size_bytes)
        assert gateway.ranges()[before] != "bytes=0-8388607"
        await cdn.stop()
        assert cdn.process.returncode == 0


async def test_a_thousand_readers_and_a_large_asset_fit_into_56_mb(
    gateway: Gateway, environment: dict[str, str], http: aiohttp.ClientSession
) -> None:
    film = gateway.add("film", Bytes(60 * BLOCK_BYTES, seed=1))
    gateway.add("other", Bytes(30 * BLOCK_BYTES, seed=2), etag="asset-other")

    async def read(path: str, wanted: str) -> int:
        given = {**headers(cdn), "Range": wanted}
        async with http.get(cdn.url + path, headers=given) as response:
            size = 0
            async for piece in response.content.iter_any():
                size += len(piece)
            return size

    async with cdn_process(environment, http) as cdn:
        assert await read("/v1/assets/film", "bytes=0-") == film.size_bytes
        wanted = [f"bytes={n % 30 * BLOCK_BYTES}-{n % 30 * BLOCK_BYTES + 200_000}" for n in range(1000)]
        for _ in ("cold", "warm"):
            sizes = await asyncio.gather(*(read("/v1/assets/other", one) for one in wanted))
            assert set(sizes) == {200_001}
        assert cdn.resident_bytes < MOST_BYTES


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of another process's files")
async def test_on_a_full_disk_bytes_pass_through_and_it_recovers(
    gateway: Gateway, environment: dict[str, str], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    before = gateway.add("before", Bytes(3 * BLOCK_BYTES + 7, seed=1))
    film = gateway.add("film", Bytes(12 * BLOCK_BYTES + 9, seed=2))

    async def read(asset_id: str) -> tuple[int, str | None, bytes]:
        async with http.get(f"{cdn.url}/v1/assets/{asset_id}", headers=headers(cdn)) as response:
            return response.status, response.headers.get("X-Cache"), await response.read()

    async def is_kept(asset_id: str) -> bool:
        return (await read(asset_id))[1] == "HIT"

    async with cdn_process(environment, http) as cdn:
        await eventually(lambda: is_kept("before"))
        _limit_files(cdn, 0)
        for _ in range(2):
            status, _, body = await read("film")
            assert (status, body) == (200, film.read(0, film.size_bytes))
            assert (await read("before"))[1:] == ("HIT", before.read(0, before.size_bytes))
            async with http.get(f"{cdn.url}/stats", headers=headers(cdn)) as response:
                assert response.status == 200
        assert not list((tmp_path / "cache" / "blocks").glob("*/*/*.new"))
        gateway.status = 403
        assert (await read("unknown"))[0] == 403
        gateway.status, gateway.is_down = None, True
        # The refusal was of the account, and holds though it could not be written down,
        assert (await read("before"))[0] == 503
        await cdn.kill()
    async with cdn_process(environment, http) as cdn:
        # also for the next process.
        assert (await read("before"))[0] == 503
        gateway.is_down = False
        _limit_files(cdn, 0)
        assert (await read("film"))[2] == film.read(0, film.size_bytes)
        _limit_files(cdn, resource.RLIM_INFINITY)
        await eventually(lambda: is_kept("film"))
        await cdn.stop()
        assert cdn.process.returncode == 0


def _limit_files(cdn: CdnProcess, size_bytes: int) -> None:
    """Let no file of a process grow: to it, the disk is full."""
    resource.prlimit(cdn.process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))


def test_one_process_has_a_folder(tmp_path: Path) -> None:
    first, second = Lock(tmp_path), Lock(tmp_path)
    first.take(port=53777)
    with pytest.raises(AlreadyRunning, match="port 53777"):
        second.take(port=53778)
    holder = running(tmp_path)
    assert holder is not None
    assert holder.port == 53777
    first.release()
    assert running(tmp_path) is None
    second.take(port=53778)
    second.release()


def test_a_port_that_is_taken_is_named_and_a_free_one_too() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"port {port}\. .*JETTYSPEED_CDN_URL \(\d+ is free\)"):
            listen(port)


def test_it_listens_on_this_machine_alone() -> None:
    for listening in listen(0):
        with listening:
            assert listening.getsockname()[0] in ("127.0.0.1", "::1")
