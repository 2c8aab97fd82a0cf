"""A folder of many small files by `jettythunder upload`, against a plain loop of requests.

    make bench-folder ARGS="--files 10000 --markdown"

Both send files of 10 KB to the same gateway, each its own fresh bytes, from a process of its own; the loop is
of aiohttp with 16 connections, and does nothing but read each file and post it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
from tests.performance.processes import CLIENT, Processes
from tests.performance.stack import Account, provision, running_services
from tests.performance.table import Table, add_output_options, show
from tests.support.infrastructure import running_infrastructure, temporary_folder

FILE_BYTES = 10_000
FILES_IN_A_FOLDER = 500
CONNECTIONS = 16
OURS, LOOP = "jettythunder upload", f"a loop of {CONNECTIONS} connections"


def fill(folder: Path, count: int) -> None:
    """Files of fresh random bytes, 500 to a folder."""
    for number in range(count):
        file = folder / str(number // FILES_IN_A_FOLDER) / f"{number}.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(os.urandom(FILE_BYTES))


async def loop(folder: Path, url: str, headers: dict[str, str]) -> None:
    """Post every file, 16 at once over kept connections."""
    files: Iterator[Path] = folder.rglob("*.bin")  # noqa: ASYNC240 - as a plain program does it
    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as http:

        async def send() -> None:
            for file in files:
                form = aiohttp.FormData()
                form.add_field("file", file.read_bytes(), filename=file.name)
                async with http.post(f"{url}/api/storage/upload", data=form) as answer:
                    answer.raise_for_status()
                    await answer.read()

        await asyncio.gather(*(send() for _ in range(CONNECTIONS)))


async def measured(name: str, processes: Processes, folder: Path, url: str, account: Account) -> list[float]:
    """Seconds and CPU seconds of the client, and CPU seconds of the gateway."""
    environment = {
        **os.environ,
        "JETTYTHUNDER_API_URL": url,
        "JETTYTHUNDER_API_KEY": account.api_key,
        "JETTYTHUNDER_API_SECRET": account.api_secret,
        "JETTYTHUNDER_STATE_DIR": str(folder.parent / "state"),
        "JETTYTHUNDER_CONFIG": str(folder.parent / "config.toml"),
    }
    ours = ("-m", "jettythunder_cli.main", "upload", str(folder), "--quiet")
    theirs = ("-m", "tests.performance.bench_folder", "--loop", str(folder))
    with processes.measured() as taken:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            sys.executable, *(ours if name == OURS else theirs), env=environment
        )
        assert await process.wait() == 0
        seconds = time.perf_counter() - began
    return [seconds, taken.cpu_seconds[CLIENT], taken.cpu_seconds["gateway"]]


async def run(count: int, rounds: int) -> dict[str, list[float]]:
    """Start the services, and measure both in turns; the sums of all rounds."""
    found = {name: [0.0, 0.0, 0.0] for name in (OURS, LOOP)}
    with (
        temporary_folder() as folder,
        running_infrastructure() as infrastructure,
        running_services(infrastructure, folder, s3=infrastructure.s3, workers=1) as services,
    ):
        account = await provision(services.gateway_url, services.environment)
        processes = Processes(services.pids)
        for number in range(rounds):
            for name in (OURS, LOOP) if number % 2 == 0 else (LOOP, OURS):
                files = folder / f"{name}-{number}"
                await asyncio.to_thread(fill, files, count // rounds)
                figures = await measured(name, processes, files, services.gateway_url, account)
                found[name] = [sum(pair) for pair in zip(found[name], figures, strict=True)]
                print(f"round {number + 1}: {name} {figures[0]:.1f} s", file=sys.stderr)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2, help="in how many turns they are sent")
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)
    add_output_options(parser)
    given = parser.parse_args(arguments)
    if given.loop:
        key, secret = os.environ["JETTYTHUNDER_API_KEY"], os.environ["JETTYTHUNDER_API_SECRET"]
        headers = {"Authorization": f"Bearer {key}", "X-API-Secret": secret}
        asyncio.run(loop(given.loop, os.environ["JETTYTHUNDER_API_URL"], headers))
        return
    found = asyncio.run(run(given.files, given.rounds))
    table = Table(
        f"{given.files:,} files of 10 KB",
        ("by", "time", "files/s", "client's CPU", "a file", "gateway's CPU"),
    )
    for name, (seconds, client, gateway) in found.items():
        rate = f"{given.files / seconds:.0f}"
        each = f"{client / given.files * 1000:.2f} ms"
        table.add(name, f"{seconds:.0f} s", rate, f"{client:.1f} s", each, f"{gateway:.0f} s")
    show(given, [table], found)


if __name__ == "__main__":
    main()
