"""How fast uploads through the API are, against what else puts the same bytes to the same S3 server.

    make bench-uploads ARGS="--sizes 100,1000 --rounds 3 --profile all"

Every ratio is one within a run on one machine: contenders take turns, round by round, in another order each
time, and the median counts. tusd is the program that $TUSD names, else the one on the PATH; without it the
others are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import uvloop
from rich.console import Console
from tests.performance.contenders import (
    MB,
    Api,
    AwsCli,
    Contender,
    SinglePut,
    SmallContender,
    Tusd,
    at_once,
    fill,
    find_tusd,
    running_tusd,
)
from tests.performance.distance import Distance, at_a_distance
from tests.performance.processes import CLIENT, Processes, Taken
from tests.performance.stack import provision, running_services
from tests.performance.table import Table, add_output_options, show
from tests.support.infrastructure import Infrastructure, running_infrastructure, temporary_folder

PROFILES = {"loopback": None, "far": Distance(rtt_seconds=0.040, per_connection=10.0 * MB)}
SMALL_BYTES = 10_000
LONG_SECONDS = 60
SMALL_CONCURRENCY = 16
OURS = Api.name
SHORT = {AwsCli.name: "aws", SinglePut.name: "PUT", Tusd.name: "tusd"}
OUR_SERVICES = ("gateway", "workers")
OTHERS = ("meter", "provisioning", "operations", "PostgreSQL", "RabbitMQ")
SHARED = (CLIENT, "S3 server", "link")

progress = Console(stderr=True, highlight=False)
Item = TypeVar("Item")


@dataclass
class Series:
    """One contender's rounds: the seconds of each, and what processes took in all of them."""

    seconds: list[float] = field(default_factory=list)
    taken: Taken = field(default_factory=Taken)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


@dataclass
class Workload:
    """What every contender uploads in a round. ``series`` has the contenders by their names."""

    file_bytes: int
    files: int = 1
    series: dict[str, Series] = field(default_factory=dict)

    @property
    def title(self) -> str:
        if self.files == 1:
            return f"{self.file_bytes // MB} MB"
        return f"{self.file_bytes // 1000} KB, {SMALL_CONCURRENCY} at once"

    @property
    def amount(self) -> float:
        """Of what CPU times are counted: gigabytes, or thousands of files."""
        return self.file_bytes / 1e9 if self.files == 1 else self.files / 1000

    def shown(self, name: str) -> str:
        """A contender's median for people."""
        if name not in self.series:
            return ""
        seconds = self.series[name].median
        if self.files > 1:
            return f"{self.files / seconds:.0f}/s"
        return f"{seconds:.2f} s"

    @property
    def speed(self) -> str:
        """Ours, for people; that of small files is `shown` already."""
        return f"{self.file_bytes / MB / self.series[OURS].median:.0f}" if self.files == 1 else ""

    def ratio(self, peer: str) -> float:
        """How many times as fast as the peer we are."""
        return self.series[peer].median / self.series[OURS].median

    def cpu_seconds(self, contender: str) -> dict[str, float]:
        """What each group of processes took for a gigabyte, or for a thousand files."""
        series = self.series[contender]
        amount = self.amount * len(series.seconds)
        return {name: seconds / amount for name, seconds in series.taken.cpu_seconds.items()}

    def took_long(self, contender: str) -> bool:
        """Whether one round of it says enough, such as a single stream over a long way."""
        return contender in self.series and self.series[contender].median > LONG_SECONDS

    def add(self, contender: str, seconds: float, taken: Taken) -> None:
        series = self.series.setdefault(contender, Series())
        series.seconds.append(seconds)
        series.taken.add(taken)
        progress.print(f"  {self.title}, round {len(series.seconds)}: {contender} {seconds:.2f} s")


@dataclass
class Bench:
    """The contenders over one profile, and the processes that serve them."""

    large_contenders: Sequence[Contender]
    small_contenders: Sequence[SmallContender]
    processes: Processes
    folder: Path

    async def large(self, size_mb: int, rounds: int) -> Workload:
        """One file at a time."""
        workload = Workload(size_mb * MB)
        file = self.folder / "film.bin"
        for number in range(rounds):
            await asyncio.to_thread(fill, file, workload.file_bytes)
            for contender in _rotated(self.large_contenders, number):
                if workload.took_long(contender.name):
                    continue
                with self.processes.measured() as taken:
                    seconds = await contender.put(file)
                await contender.remove()
                workload.add(contender.name, seconds, taken)
        await asyncio.to_thread(file.unlink)
        return workload

    async def small(self, count: int, rounds: int) -> Workload:
        """Many small files, some at once."""
        workload = Workload(SMALL_BYTES, count)
        for number in range(rounds):
            for contender in _rotated(self.small_contenders, number):
                with self.processes.measured() as taken:
                    async with contender.sender() as send:
                        seconds = await at_once(
                            lambda: send(os.urandom(SMALL_BYTES)),
                            count,
                            concurrency=SMALL_CONCURRENCY,
                        )
                workload.add(contender.name, seconds, taken)
        return workload


def _rotated(items: Sequence[Item], number: int) -> list[Item]:
    first = number % len(items)
    return [*items[first:], *items[:first]]


async def measure(infrastructure: Infrastructure, profile: str, given: argparse.Namespace) -> list[Workload]:
    """All workloads over one profile, by services and peers that are as far from the object storage."""
    progress.print(f"{profile}:")
    tusd_program = find_tusd()
    distance = PROFILES[profile]
    s3 = infrastructure.s3
    with ExitStack() as running:
        folder = running.enter_context(temporary_folder())
        pids: dict[str, list[int]] = {}
        if distance is not None:
            remote = running.enter_context(at_a_distance(s3.endpoint, distance))
            s3 = replace(s3, endpoint=remote.url)
            pids["link"] = [remote.pid]
        services = running.enter_context(
            running_services(infrastructure, folder, s3=s3, workers=given.workers)
        )
        account = await provision(services.gateway_url, services.environment)
        api, put = Api(services.gateway_url, account), SinglePut(s3)
        large: list[Contender] = [api, AwsCli(s3), put]
        small: list[SmallContender] = [api, put]
        if tusd_program is not None:
            first_port = infrastructure.first_port + 30
            tusd = running.enter_context(running_tusd(tusd_program, s3, folder, first_port=first_port))
            pids["tusd"] = [tusd.pid]
            large.append(tusd)
            small.append(tusd)
        bench = Bench(large, small, Processes({**services.pids, **pids}), folder)
        sizes = [int(size) for size in given.sizes.split(",") if size]
        workloads = [await bench.large(size, given.rounds) for size in sizes]
        if given.small:
            workloads.append(await bench.small(given.small, given.rounds))
    return workloads


def speeds(profile: str, workloads: Sequence[Workload], rounds: int) -> Table:
    """Who was how fast, and how many times as fast as each peer we were."""
    names = list(dict.fromkeys(name for workload in workloads for name in workload.series))
    peers = [name for name in names if name != OURS]
    title = f"Uploads, {profile}: medians of {rounds}, the API's MB/s, and how many times as fast it was"
    table = Table(title, [profile, *names, "MB/s", *(f"x {SHORT[peer]}" for peer in peers)])
    for workload in workloads:
        ratios = [f"{workload.ratio(peer):.2f}" if peer in workload.series else "" for peer in peers]
        table.add(workload.title, *map(workload.shown, names), workload.speed, *ratios)
    return table


def cpu(profile: str, workloads: Sequence[Workload]) -> Table:
    """What each contender's uploads cost, and whom; what others do meanwhile is no cost of theirs."""
    columns = [CLIENT, *OUR_SERVICES, "others", "tusd", "S3 server", *(["link"] if PROFILES[profile] else [])]
    title = f"CPU seconds, {profile}: for each GB, or for 1000 small files"
    table = Table(title, [profile, "by", *columns], labels=2)
    for workload in workloads:
        for name in workload.series:
            row = workload.cpu_seconds(name)
            row["others"] = sum(row[group] for group in OTHERS)
            own = (*OUR_SERVICES, "others") if name == OURS else (name,)
            cells = (f"{row[column]:.1f}" if column in (*own, *SHARED) else "" for column in columns)
            table.add(workload.title, name, *cells)
    return table


def memory(profile: str, workloads: Sequence[Workload]) -> Table:
    """The most memory that who serves uploads held meanwhile; of the workers that of the largest."""
    served_by = {"gateway": OURS, "workers": OURS, "tusd": "tusd"}
    table = Table(f"Peak memory, {profile}", [profile, *served_by])
    for workload in workloads:
        peaks = [
            workload.series[contender].taken.peak_mb[group] if contender in workload.series else None
            for group, contender in served_by.items()
        ]
        table.add(workload.title, *("" if peak is None else f"{peak:.0f} MB" for peak in peaks))
    return table


def report(workloads: Sequence[Workload]) -> list[dict[str, Any]]:
    """The figures of a profile as programs read them."""
    return [
        {
            "file_bytes": workload.file_bytes,
            "files": workload.files,
            "contenders": {
                name: {
                    "seconds": [round(seconds, 3) for seconds in series.seconds],
                    "api_is_times_as_fast": round(workload.ratio(name), 3),
                    "cpu_seconds_per_gb_or_1000_files": _rounded(workload.cpu_seconds(name)),
                    "peak_mb": _rounded(series.taken.peak_mb),
                }
                for name, series in workload.series.items()
            },
        }
        for workload in workloads
    ]


def _rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(figure, 3) for name, figure in figures.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="100,1000", help="megabytes, with commas between (5000 for 5 GB)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=400, help="small files a round; 0 leaves them out")
    parser.add_argument("--profile", choices=[*PROFILES, "all"], default="loopback")
    parser.add_argument("--workers", type=int, default=2)
    add_output_options(parser)
    given = parser.parse_args()
    if find_tusd() is None:
        progress.print("tusd is not there, so it is left out: set TUSD to it (docs/performance.md).")
    with running_infrastructure() as infrastructure:
        measured = {
            profile: uvloop.run(measure(infrastructure, profile, given))
            for profile in PROFILES
            if given.profile in (profile, "all")
        }
    tables = [
        table
        for profile, workloads in measured.items()
        for table in (
            speeds(profile, workloads, given.rounds),
            cpu(profile, workloads),
            memory(profile, workloads),
        )
    ]
    show(given, tables, {profile: report(workloads) for profile, workloads in measured.items()})


if __name__ == "__main__":
    main()
