"""How fast a client has to send: what counts is the time of waiting for it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.virtual_time import now, run_virtually

from jettythunder.errors import UploadTimedOut
from jettythunder.http.pace import Pace


async def arriving(*pieces: tuple[float, int]) -> AsyncIterator[bytes]:
    """A body whose pieces take so many seconds each, and have so many bytes."""
    for seconds, count in pieces:
        await asyncio.sleep(seconds)
        yield bytes(count)


async def read(stream: AsyncIterator[bytes], *, rests_seconds: float = 0) -> int:
    pace = Pace(stall_seconds=30, least_bytes_per_second=100)
    received = 0
    while (block := await pace.receive(stream)) is not None:
        received += len(block)
        await asyncio.sleep(rests_seconds)
    return received


def test_a_silent_client_is_given_up() -> None:
    async def run() -> None:
        with pytest.raises(UploadTimedOut, match="No bytes arrived"):
            await read(arriving((1, 10), (1000, 10)))
        assert now() == 31

    run_virtually(run())


def test_a_trickle_is_given_up_after_a_grace() -> None:
    async def run() -> None:
        with pytest.raises(UploadTimedOut, match="Less than 100 bytes"):
            await read(arriving(*[(1, 50)] * 1000))
        assert now() == 30

    run_virtually(run())


def test_a_client_that_begins_fast_must_go_on_so() -> None:
    async def run() -> None:
        with pytest.raises(UploadTimedOut):
            await read(arriving(*[(1, 1_000_000)] * 30, *[(1, 1)] * 1000))
        assert now() == 60

    run_virtually(run())


def test_a_slow_start_and_a_steady_client_are_no_trouble() -> None:
    async def run() -> None:
        assert await read(arriving((25, 1), (1, 3_000), *[(10, 1001)] * 50)) == 3_001 + 50 * 1001

    run_virtually(run())


def test_the_time_in_which_nobody_reads_does_not_count() -> None:
    async def run() -> None:
        assert await read(arriving(*[(0.1, 100)] * 50), rests_seconds=100) == 5000

    run_virtually(run())
