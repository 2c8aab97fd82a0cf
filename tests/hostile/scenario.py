"""A well-behaved account's calls, while others mean no good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import psutil
from rich.console import Console
from rich.table import Table
from tests.hostile.attackers import ARRIVAL_SECONDS, MEGABYTE, Attack
from tests.support.gateway import Tenant, World

from jettythunder_dev.layout import REPOSITORY

STREAMED_BYTES = MEGABYTE
HELD_BYTES = 20 * MEGABYTE
ATTACKING_ACCOUNTS = 4
SETTLE_SECONDS = ARRIVAL_SECONDS + 5


@dataclass
class Measured:
    """The seconds that each kind of call took, in the order of the calls."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def p99(self, kind: str) -> float:
        ordered = sorted(self.seconds[kind])
        return ordered[min(len(ordered) - 1, round(0.99 * (len(ordered) - 1)))]

    def median(self, kind: str) -> float:
        ordered = sorted(self.seconds[kind])
        return ordered[len(ordered) // 2]

    def longest(self) -> float:
        return max(max(of_kind) for of_kind in self.seconds.values())


async def calls_of(tenant: Tenant, *, seconds: float) -> Measured:
    """Call one after another for so long, each kind in its turn."""
    asset = await tenant.store(os.urandom(STREAMED_BYTES))

    async def upload(size: int) -> float:
        content = os.urandom(size)
        began = time.perf_counter()
        answer = await tenant.upload(content)
        took = time.perf_counter() - began
        assert answer.status_code == 201, answer.text
        await tenant.call("DELETE", f"/api/storage/assets/{answer.json()['asset']['id']}")
        return took

    async def stream() -> float:
        began = time.perf_counter()
        answer = await tenant.get(f"/api/storage/stream/{asset['id']}")
        took = time.perf_counter() - began
        assert (answer.status_code, len(answer.content)) == (200, STREAMED_BYTES)
        return took

    kinds: dict[str, Callable[[], Awaitable[float]]] = {
        "upload of 1 KB": lambda: upload(1_000),
        "upload of 10 MB": lambda: upload(10 * MEGABYTE),
        "stream of 1 MB": stream,
    }
    measured = Measured({kind: [] for kind in kinds})
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for kind, call in kinds.items():
            measured.seconds[kind].append(await call())
    return measured


async def attack_on(world: World, *, share: float) -> Attack:
    """Everything at once, from accounts of its own and from nobody; ``share`` of the full numbers."""
    accounts = [await world.tenant("enterprise") for _ in range(ATTACKING_ACCOUNTS)]
    links = []
    for account in accounts:
        held = await account.store(os.urandom(HELD_BYTES))
        link = (await account.get("/api/storage/download", params={"asset_id": held["id"]})).json()
        address = urlsplit(link["stream_url"])
        links.append(f"{address.path}?{address.query}")
    gateway = urlsplit(accounts[0].base_url)
    assert gateway.hostname is not None
    assert gateway.port is not None
    return Attack(
        host=gateway.hostname,
        port=gateway.port,
        accounts=[account.headers for account in accounts],
        links=links,
        slow_uploads=round(200 * share),
        stalled_readers=round(200 * share),
        silent_connections=round(300 * share),
        json_bodies=round(20 * share),
    )


@contextlib.asynccontextmanager
async def under(attack: Attack) -> AsyncIterator[dict[str, int]]:
    """Have the attack go on while inside; afterwards, how many attempts of each kind there were."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.hostile.attackers",
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(attack.as_json().encode() + b"\n")
    await process.stdin.drain()
    attempts: dict[str, int] = {}
    try:
        yield attempts
    finally:
        told, _ = await process.communicate(b"")
        attempts.update(json.loads(told))


class Memory:
    """The most memory that a process had while it was watched."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.peak_bytes = 0

    async def watch(self) -> None:
        while True:
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
            await asyncio.sleep(0.1)


def print_table(idle: Measured, attacked: Measured, memory: Memory, attempts: dict[str, int]) -> None:
    """What was measured, for whoever reads the test's output."""
    table = Table(title="A well-behaved account while others mean no good")
    for column in ("call", "idle p50", "idle p99", "attacked p50", "attacked p99", "p99 ratio", "calls"):
        table.add_column(column, justify="left" if column == "call" else "right")
    for kind in idle.seconds:
        figures = (idle.median(kind), idle.p99(kind), attacked.median(kind), attacked.p99(kind))
        table.add_row(
            kind,
            *(f"{1000 * figure:.1f} ms" for figure in figures),
            f"{attacked.p99(kind) / idle.p99(kind):.2f}",
            f"{len(idle.seconds[kind])} / {len(attacked.seconds[kind])}",
        )
    console = Console(width=120)
    console.print(table)
    console.print(f"The gateway's memory at its peak: {memory.peak_bytes / MEGABYTE:.0f} MB")
    console.print("Attempts: " + ", ".join(f"{kind.strip('_')} {count}" for kind, count in attempts.items()))
