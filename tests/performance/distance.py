"""The object storage as it is from afar: behind a link in a process of its own."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

import uvloop
from tests.support.links import Link

START_SECONDS = 60


@dataclass(frozen=True)
class Distance:
    """A round trip in seconds, and what any one connection carries at most, in bytes per second."""

    rtt_seconds: float
    per_connection: float


@dataclass(frozen=True)
class Remote:
    """The link, by its address, and its process."""

    url: str
    pid: int


@contextmanager
def at_a_distance(target: str, distance: Distance) -> Iterator[Remote]:
    """The server at `target`, reached over such a distance.

    Raises:
        RuntimeError: the link's process did not start.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, target, distance), daemon=True)
    process.start()
    try:
        if not ours.poll(START_SECONDS):
            raise RuntimeError(f"The link's process did not start within {START_SECONDS} seconds.")
        assert process.pid is not None
        yield Remote(ours.recv(), process.pid)
    finally:
        process.kill()
        process.join()


def _serve(pipe: Pipe, target: str, distance: Distance) -> None:
    uvloop.run(_forward(pipe, target, distance))


async def _forward(pipe: Pipe, target: str, distance: Distance) -> None:
    link = Link(
        target,
        per_connection=distance.per_connection,
        rtt_seconds=distance.rtt_seconds,
        # What a sender may have in flight: so much goes out at once after a pause, and no more.
        catch_up_seconds=distance.rtt_seconds,
    )
    pipe.send((await link.open()).url)
    await asyncio.Event().wait()
