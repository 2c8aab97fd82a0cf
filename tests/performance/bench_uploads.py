"""How fast uploads through the API are, against the same bytes put to the same S3 server directly.

    make bench ARGS="--sizes 100,1000 --rounds 3"

Every figure is a ratio within one run on one machine: contenders take turns, round by round, and the median
counts. Memory and CPU are sampled of each service's process while it takes the API's uploads.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import psutil
from rich.console import Console
from rich.table import Table
from tests.support.infrastructure import (
    S3Access,
    Services,
    running_infrastructure,
    start_services,
    temporary_folder,
)
from tests.support.s3 import opened_s3

MEGABYTE = 1_000_000
SMALL_BYTES = 10_000
SMALL_CONCURRENCY = 16
AWS = Path(sys.executable).with_name("aws")
console = Console(stderr=True)


@dataclass
class Usage:
    """What a process took while it was watched."""

    peak_mb: float = 0.0
    cpu_seconds: float = 0.0


@dataclass
class Run:
    """One size's seconds by contender, and the services' usage during the API's uploads."""

    size_mb: int
    seconds: dict[str, list[float]] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)

    def median(self, contender: str) -> float:
        return statistics.median(self.seconds[contender])

    def rate(self, contender: str) -> float:
        return self.size_mb / self.median(contender)


@contextmanager
def watched(services: Services, usage: dict[str, Usage]) -> Iterator[None]:
    """Sample the services' memory and CPU while the block runs."""
    processes = {name: psutil.Process(services.pid(name)) for name in services.names}
    before = {name: _cpu(process) for name, process in processes.items()}
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.1):
            for name, process in processes.items():
                seen = usage.setdefault(name, Usage())
                seen.peak_mb = max(seen.peak_mb, process.memory_info().rss / MEGABYTE)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield
    finally:
        done.set()
        sampler.join()
        for name, process in processes.items():
            usage.setdefault(name, Usage()).cpu_seconds += _cpu(process) - before[name]


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


class Bench:
    """The contenders, on one account of the enterprise tier."""

    def __init__(self, services: Services, folder: Path) -> None:
        self.services = services
        self.s3 = services.infrastructure.s3
        self.folder = folder
        account = _provision(services)
        self.headers = {
            "Authorization": f"Bearer {account['api_key']}",
            "X-API-Secret": account["api_secret"],
        }
        self.prefix = account["s3_prefix"]

    def file(self, size_mb: int) -> Path:
        """A file of fresh random bytes: the same bytes twice would be stored once."""
        path = self.folder / f"{uuid4()}.bin"
        with path.open("wb") as out:
            for _ in range(size_mb):
                out.write(os.urandom(MEGABYTE))
        return path

    def through_the_api(self, path: Path) -> None:
        headers = [part for name, value in self.headers.items() for part in ("-H", f"{name}: {value}")]
        url = f"{self.services.base_url}/api/storage/upload"
        answer = _run(["curl", "-sS", *headers, "-F", f"file=@{path}", url])
        asset = json.loads(answer)["asset"]
        if asset["size_bytes"] != path.stat().st_size:
            raise SystemExit(f"The API stored {asset['size_bytes']} bytes of {path.stat().st_size}.")
        _run(["curl", "-sS", "-X", "DELETE", *headers, f"{url.removesuffix('upload')}assets/{asset['id']}"])

    def aws_s3_cp(self, path: Path) -> None:
        target = f"s3://{self.s3.bucket}/bench/{path.name}"
        _aws(self.s3, "cp", str(path), target)

    def single_put(self, path: Path) -> None:
        asyncio.run(self._single_put(path))

    async def _single_put(self, path: Path) -> None:
        async with opened_s3(self.s3) as s3:
            params = {"Bucket": self.s3.bucket, "Key": f"bench/{path.name}.put"}
            url = await s3.generate_presigned_url("put_object", Params=params)
        _run(["curl", "-sS", "--fail", "-T", str(path), url])

    def clean(self) -> None:
        _aws(self.s3, "rm", "--recursive", f"s3://{self.s3.bucket}/bench/")

    def large(self, size_mb: int, rounds: int) -> Run:
        """Time all contenders with files of one size."""
        run = Run(size_mb)
        contenders: dict[str, Callable[[Path], None]] = {
            "api": self.through_the_api,
            "aws s3 cp": self.aws_s3_cp,
            "single put": self.single_put,
        }
        for number in range(rounds):
            path = self.file(size_mb)
            for name, contender in contenders.items():
                console.print(f"  {size_mb} MB, round {number + 1} of {rounds}: {name}")
                if name == "api":
                    with watched(self.services, run.usage):
                        seconds = timed(lambda: contender(path))  # noqa: B023 - called at once
                else:
                    seconds = timed(lambda: contender(path))  # noqa: B023 - called at once
                run.seconds.setdefault(name, []).append(seconds)
            path.unlink()
            self.clean()
        return run

    async def small(self, count: int, rounds: int) -> dict[str, float]:
        """Uploads a second of small files, through the API and by a direct aioboto3 client."""
        rates: dict[str, list[float]] = {"api": [], "aioboto3": []}
        for number in range(rounds):
            console.print(f"  {count} x {SMALL_BYTES // 1000} KB, round {number + 1} of {rounds}")
            rates["api"].append(await self._small_api(count))
            rates["aioboto3"].append(await self._small_direct(count))
        self.clean()
        return {name: statistics.median(values) for name, values in rates.items()}

    async def _small_api(self, count: int) -> float:
        url = f"{self.services.base_url}/api/storage/upload"
        async with aiohttp.ClientSession(headers=self.headers) as http:

            async def put(_: int) -> None:
                form = aiohttp.FormData()
                form.add_field("file", os.urandom(SMALL_BYTES), filename="small.bin")
                async with http.post(url, data=form) as answer:
                    if answer.status != 201:
                        raise SystemExit(f"The API answered {answer.status}: {await answer.text()}")

            return await _rate(put, count)

    async def _small_direct(self, count: int) -> float:
        async with opened_s3(self.s3) as s3:

            async def put(_: int) -> None:
                await s3.put_object(
                    Bucket=self.s3.bucket, Key=f"bench/{uuid4()}", Body=os.urandom(SMALL_BYTES)
                )

            return await _rate(put, count)


async def _rate(put: Callable[[int], Any], count: int) -> float:
    todo = iter(range(count))

    async def work() -> None:
        for number in todo:
            await put(number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(SMALL_CONCURRENCY)))
    return count / (time.perf_counter() - started)


def _aws(s3: S3Access, *arguments: str) -> None:
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "AWS_DEFAULT_REGION": s3.region,
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    }
    _run([str(AWS), "--endpoint-url", s3.endpoint, "s3", *arguments, "--only-show-errors"], environment)


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{command[0]} failed: {finished.stderr.strip()[-500:]}")
    return finished.stdout


def _provision(services: Services) -> dict[str, Any]:
    body = {
        "agentcache_user_id": f"bench-{uuid4()}",
        "agentcache_email": "bench@example.com",
        "tier": "enterprise",
    }
    secret = services.environment["AGENTCACHE_WEBHOOK_SECRET"]
    answer = _run(
        [
            "curl", "-sS", "-X", "POST", f"{services.base_url}/api/agentcache/provision",
            "-H", f"Authorization: Bearer {secret}", "-H", "Content-Type: application/json",
            "-d", json.dumps(body),
        ]
    )  # fmt: skip
    account: dict[str, Any] = json.loads(answer)["account"]
    return account


def table(runs: list[Run], small: dict[str, float]) -> Table:
    """The figures as people read them."""
    shown = Table(title="Uploads through the API against direct clients, same S3 server, same run")
    for heading in ("what", "API", "aws s3 cp", "single PUT", "API / aws", "API / PUT"):
        shown.add_column(heading, justify="right")
    for run in runs:
        shown.add_row(
            f"{run.size_mb} MB",
            *(f"{run.median(name):.2f} s, {run.rate(name):.0f} MB/s" for name in run.seconds),
            f"{run.rate('api') / run.rate('aws s3 cp'):.2f}x",
            f"{run.rate('api') / run.rate('single put'):.2f}x",
        )
    if small:
        shown.add_row(
            f"{SMALL_BYTES // 1000} KB x{SMALL_CONCURRENCY}",
            f"{small['api']:.0f}/s",
            "",
            f"{small['aioboto3']:.0f}/s (aioboto3)",
            "",
            f"{small['api'] / small['aioboto3']:.2f}x",
        )
    return shown


def usage_table(runs: list[Run]) -> Table:
    """Peak memory and CPU of each service while it took the API's uploads."""
    shown = Table(title="Services during the API's uploads: peak memory, CPU seconds per GB")
    shown.add_column("service")
    for run in runs:
        shown.add_column(f"{run.size_mb} MB", justify="right")
    for name in sorted({name for run in runs for name in run.usage}):
        cells = []
        for run in runs:
            seen = run.usage.get(name, Usage())
            gigabytes = run.size_mb * len(run.seconds["api"]) / 1000
            cells.append(f"{seen.peak_mb:.0f} MB, {seen.cpu_seconds / gigabytes:.1f} s")
        shown.add_row(name, *cells)
    return shown


def report(runs: list[Run], small: dict[str, float]) -> dict[str, Any]:
    """The figures as programs read them."""
    return {
        "large": [
            {
                "size_mb": run.size_mb,
                "seconds": run.seconds,
                "api_to_aws": round(run.rate("api") / run.rate("aws s3 cp"), 3),
                "api_to_single_put": round(run.rate("api") / run.rate("single put"), 3),
                "services": {name: vars(usage) for name, usage in run.usage.items()},
            }
            for run in runs
        ],
        "small": {**small, "api_to_aioboto3": round(small["api"] / small["aioboto3"], 3)} if small else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="100,1000", help="megabytes, with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", type=int, default=400, help="small files a round; 0 leaves them out")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    arguments = parser.parse_args()
    with running_infrastructure() as infrastructure, temporary_folder() as folder:
        services = start_services(infrastructure, workers=arguments.workers)
        bench = Bench(services, folder)
        small = asyncio.run(bench.small(arguments.small, arguments.rounds)) if arguments.small else {}
        runs = [bench.large(int(size), arguments.rounds) for size in arguments.sizes.split(",")]
    if arguments.json:
        print(json.dumps(report(runs, small), indent=2))
        return
    out = Console(width=120)
    out.print(table(runs, small))
    out.print(usage_table(runs))


if __name__ == "__main__":
    main()
