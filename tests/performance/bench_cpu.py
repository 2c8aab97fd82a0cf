"""What operations cost: the CPU time of each service and server for one of them, and what it writes.

    make bench-cpu ARGS="--operations 1000 --megabytes 1000"

Each operation is done many times; what all processes took until everything that follows from it was done too
(events published, booked and rolled up) is divided by their number. What the same processes take in that time
when nothing happens is subtracted. A small upload is one of 10 KB, a list has 50 assets, and an event goes
from the outbox to the ledger. Each operation's rows, events and write-ahead log are counted as well, and the
most memory that a process of each kind held during all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

import aiohttp
import asyncpg
import uvloop
from rich.console import Console
from tests.performance.contenders import MB, Api, at_once, fill, require
from tests.performance.processes import CLIENT, Processes, Taken
from tests.performance.stack import (
    Account,
    RunningServices,
    provision,
    provisioning_request,
    running_services,
)
from tests.performance.table import Table, add_output_options, show
from tests.support.history import is_settled
from tests.support.infrastructure import Infrastructure, running_infrastructure, temporary_folder
from tests.support.outbox import write
from tests.support.waiting import eventually

from jettythunder.contracts.assets import AssetDownloadedV1
from jettythunder.database import Database
from usage_meter.messages import USAGE_METER_EVENTS

SMALL_BYTES = 10_000
CONCURRENCY = 16
LISTED = 50
SETTLE_SECONDS = 300
EVENTS_AT_ONCE = 500

_WRITTEN = """
SELECT (SELECT last_value FROM outbox_id_seq) AS events,
    (SELECT last_value FROM usage_ledger_id_seq) AS ledger,
    (SELECT count(*) FROM inbox) AS inbox, pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS wal_bytes
"""
NO_RATE_LIMIT = "UPDATE tier_configs SET rate_limit_per_minute = 1000000"

progress = Console(stderr=True, highlight=False)


@dataclass(frozen=True)
class Operation:
    """Something done ``count`` times; the usage-meter books so many ``events`` in all because of it."""

    name: str
    count: float
    events: int
    do: Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Cost:
    """An operation's CPU time, in microseconds for one of them, by process, and what one writes."""

    operation: str
    cpu_us: dict[str, float]
    written: dict[str, float]

    @property
    def total_us(self) -> float:
        return sum(self.cpu_us.values())

    @property
    def heading(self) -> str:
        return f"{self.operation} {'s' if self._takes_seconds else 'µs'}"

    def shown(self, microseconds: float) -> str:
        """A CPU time for people, in the heading's unit."""
        return f"{microseconds / 1e6:.2f}" if self._takes_seconds else f"{microseconds:,.0f}"

    @property
    def _takes_seconds(self) -> bool:
        return self.operation.startswith("GB")


class Bench:
    """Operations on running services, and what they cost."""

    def __init__(self, services: RunningServices, pool: asyncpg.Pool[asyncpg.Record]) -> None:
        self._processes = Processes(services.pids)
        self._pool = pool
        self.idle: dict[str, float] = {}
        self.taken = Taken()

    async def _written(self) -> dict[str, float]:
        (row,) = await self._pool.fetch(_WRITTEN)
        return {name: float(value) for name, value in row.items()}

    async def booked(self) -> int:
        """How many events the usage-meter has booked."""
        query = "SELECT count(*) FROM inbox WHERE consumer = $1"
        return int(await self._pool.fetchval(query, USAGE_METER_EVENTS.name))

    async def settle(self, booked: int) -> None:
        """Wait until so many events are booked, and nothing is left to do."""

        async def settled() -> bool:
            return await is_settled(self._pool) and await self.booked() >= booked

        await eventually(settled, timeout_seconds=SETTLE_SECONDS, poll_seconds=0.1)

    async def rest(self, seconds: float) -> None:
        """Learn what everything takes in a second in which nothing happens."""
        with self._processes.measured() as taken:
            await asyncio.sleep(seconds)
        self.idle = {name: used / seconds for name, used in taken.cpu_seconds.items()}

    async def measure(self, operation: Operation) -> Cost:
        booked = await self.booked() + operation.events
        before = await self._written()
        began = time.perf_counter()
        with self._processes.measured() as taken:
            await operation.do()
            await self.settle(booked)
        seconds = time.perf_counter() - began
        after = await self._written()
        self.taken.add(taken)
        cost = Cost(
            operation.name,
            {
                name: round(max(0.0, used - seconds * self.idle[name]) / operation.count * 1e6, 1)
                for name, used in taken.cpu_seconds.items()
                if name != CLIENT
            },
            {name: (after[name] - before[name]) / operation.count for name in before},
        )
        progress.print(f"  {cost.operation}: {cost.total_us:,.0f} µs each")
        return cost


class Calls:
    """What is measured: calls of AgentCache and of one account, and events."""

    def __init__(self, services: RunningServices, account: Account, database: Database) -> None:
        self.api = Api(services.gateway_url, account)
        self._url = f"{services.gateway_url}/api"
        self._account = account
        self._agentcache = {"Authorization": f"Bearer {services.environment['AGENTCACHE_WEBHOOK_SECRET']}"}
        self._database = database

    async def upload(self, count: int) -> None:
        """Small files."""
        async with self.api.sender() as send:
            await at_once(lambda: send(os.urandom(SMALL_BYTES)), count, concurrency=CONCURRENCY)

    async def get(self, path: str, count: int) -> None:
        async with aiohttp.ClientSession(headers=self._account.headers) as http:

            async def call() -> None:
                async with http.get(self._url + path) as answer:
                    await require(answer, 200)

            await at_once(call, count, concurrency=CONCURRENCY)

    async def provision(self, count: int) -> None:
        """Accounts of new users."""
        url = f"{self._url}/agentcache/provision"
        async with aiohttp.ClientSession(headers=self._agentcache) as http:

            async def call() -> None:
                async with http.post(url, json=provisioning_request()) as answer:
                    await require(answer, 201)

            await at_once(call, count, concurrency=CONCURRENCY)

    async def publish(self, count: int) -> None:
        """Events in the outbox, from where a service's relay takes them to the broker and so to the meter."""
        payload = AssetDownloadedV1(
            account_id=self._account.id, asset_id=uuid4(), reservation_id=uuid4(), size_bytes=SMALL_BYTES
        )
        for begin in range(0, count, EVENTS_AT_ONCE):
            # Each event has an id of its own.
            await write(self._database, *[payload] * min(EVENTS_AT_ONCE, count - begin), source="/bench")


async def measure(
    infrastructure: Infrastructure, folder: Path, given: argparse.Namespace
) -> tuple[list[Cost], Bench]:
    """The cost of every operation, and what was learned beside."""
    count: int = given.operations
    file = folder / "film.bin"
    await asyncio.to_thread(fill, file, given.megabytes * MB)
    database = Database(infrastructure.database_url, name="bench")
    await database.open()
    try:
        async with asyncpg.create_pool(infrastructure.database_url, min_size=1, max_size=2) as pool:
            await pool.execute(NO_RATE_LIMIT)
            with running_services(
                infrastructure, folder, s3=infrastructure.s3, workers=given.workers
            ) as services:
                account = await provision(services.gateway_url, services.environment)
                calls, bench = Calls(services, account, database), Bench(services, pool)
                # What is done for the first time, such as imports and connections, is nobody's cost.
                await calls.upload(CONCURRENCY)
                await calls.api.put(file)
                await calls.api.remove()
                await bench.settle(booked=CONCURRENCY)
                await bench.rest(given.rest_seconds)
                costs = [
                    await bench.measure(each) for each in operations(calls, file, count, given.megabytes)
                ]
    finally:
        await database.close()
    return costs, bench


def operations(calls: Calls, file: Path, count: int, megabytes: int) -> Iterator[Operation]:
    """All operations in their order: what is read was uploaded before."""
    gigabytes = megabytes / 1000
    yield Operation("small upload", count, count, lambda: calls.upload(count))
    yield Operation("GB in", gigabytes, 1, lambda: calls.api.put(file))
    yield Operation("GB out", gigabytes, 1, calls.api.get)
    yield Operation("quota", count, 0, lambda: calls.get("/agentcache/quota", count))
    listing = f"/storage/assets?limit={LISTED}"
    yield Operation("list", count, 0, lambda: calls.get(listing, count))
    download = f"/storage/download?asset_id={calls.api.asset_id}"
    yield Operation("link", count, count, lambda: calls.get(download, count))
    yield Operation("provision", count, count, lambda: calls.provision(count))
    yield Operation("event", count, count, lambda: calls.publish(count))


def table(costs: list[Cost], idle: dict[str, float]) -> Table:
    """What one of each takes of every process, and what a second of rest does."""
    groups = [name for name in idle if name != CLIENT]
    headings = ["", *(cost.heading for cost in costs), "rest µs/s"]
    figures = Table("CPU time of one operation, and of a second of rest", headings)
    for group in groups:
        figures.add(group, *(cost.shown(cost.cpu_us[group]) for cost in costs), f"{idle[group] * 1e6:,.0f}")
    rest = sum(idle[group] for group in groups)
    figures.add("all", *(cost.shown(cost.total_us) for cost in costs), f"{rest * 1e6:,.0f}")
    return figures


def written(costs: list[Cost]) -> Table:
    """What one of each writes."""
    figures = Table("Written by one operation", ["", *(cost.operation for cost in costs)])
    for name, label in (("events", "events"), ("ledger", "rows of the ledger"), ("inbox", "rows of inboxes")):
        figures.add(label, *(f"{cost.written[name]:.1f}" for cost in costs))
    figures.add("write-ahead log, KB", *(f"{cost.written['wal_bytes'] / 1000:.1f}" for cost in costs))
    return figures


def memory(peak_mb: dict[str, float]) -> Table:
    """The most that a process of each kind held."""
    figures = Table("Peak memory", ["", "MB"])
    for name, megabytes in peak_mb.items():
        figures.add(name, f"{megabytes:.0f}")
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--operations", type=int, default=1000, help="how often each is done")
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the file that goes in and out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rest-seconds", type=float, default=10, help="how long rest is measured")
    add_output_options(parser)
    given = parser.parse_args()
    with running_infrastructure() as infrastructure, temporary_folder() as folder:
        costs, bench = uvloop.run(measure(infrastructure, folder, given))
    data = {
        "operations": [{**asdict(cost), "total_us": round(cost.total_us, 1)} for cost in costs],
        "rest_cpu_seconds_per_second": bench.idle,
        "peak_mb": bench.taken.peak_mb,
    }
    show(given, [table(costs, bench.idle), written(costs), memory(bench.taken.peak_mb)], data)


if __name__ == "__main__":
    main()
