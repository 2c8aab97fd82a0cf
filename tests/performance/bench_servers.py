"""Compares uvicorn, which the services use, with granian: CPU time of a GB in or out, and of small requests.

    python -m venv granian && granian/bin/pip install granian uvloop
    python -m tests.performance.bench_servers --granian granian/bin/granian

Both run the same bare ASGI application with one process and uvloop. The clients are curl for a GB, and one
kept connection for small requests. Rounds are in turns; shown are medians of the server's CPU time and, for
a GB, of the client's seconds.
"""

from __future__ import annotations

import argparse
import http.client
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from tests.performance.processes import Processes
from tests.performance.table import Table, add_output_options, show
from tests.support.infrastructure import temporary_folder
from tests.support.waiting import eventually_sync

APPLICATION = "tests.performance.asgi_server:app"
GB = 10**9
SMALL_REQUESTS = 5_000
SERVER = "server"

# glibc gives blocks of this size back to the kernel and fetches each page anew, until a larger one was freed.
# A service frees larger ones at once; this application never does, and would take twice as long without.
KEEPS_FREED_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": str(4 << 20), "MALLOC_TRIM_THRESHOLD_": str(32 << 20)}

Work: TypeAlias = Callable[[int], None]


def curl(*arguments: str) -> None:
    subprocess.run(["curl", "-sSf", "-o", "/dev/null", *arguments], check=True)


def works(file: Path) -> dict[str, Work]:
    """What is measured, each with the server's port."""

    def small(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        for _ in range(SMALL_REQUESTS):
            connection.request("GET", "/10")
            connection.getresponse().read()
        connection.close()

    return {
        "a GB in": lambda port: curl("-T", str(file), "-X", "POST", f"http://127.0.0.1:{port}/"),
        "a GB out": lambda port: curl(f"http://127.0.0.1:{port}/{GB}"),
        f"{SMALL_REQUESTS:,} small requests": small,
    }


def commands(granian: str) -> dict[str, Callable[[int], list[str]]]:
    """How each server is started on a port."""
    return {
        "uvicorn": lambda port: [
            *(sys.executable, "-m", "uvicorn", APPLICATION, "--port", str(port)),
            *("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"),
        ],
        "granian": lambda port: [
            *(granian, APPLICATION, "--port", str(port)),
            *("--interface", "asgi", "--loop", "uvloop", "--workers", "1", "--no-log"),
        ],
    }


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[int]:
    """A server that answers; the pid of its process."""
    process = subprocess.Popen(command, env={**os.environ, **KEEPS_FREED_BLOCKS})
    try:

        def answers() -> bool:
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually_sync(answers, timeout_seconds=30)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def measure(granian: str, rounds: int, file: Path) -> list[dict[str, Any]]:
    """A row for each work and server."""
    servers, wanted = commands(granian), works(file)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(rounds):
        for server, command in servers.items():
            port = free_port()
            with running(command(port), port) as pid:
                for name, work in wanted.items():
                    with Processes({SERVER: [pid]}).measured() as taken:
                        began = time.perf_counter()
                        work(port)
                        seconds = time.perf_counter() - began
                    found.setdefault((name, server), []).append((taken.cpu_seconds[SERVER], seconds))
    return [
        {
            "what": name,
            "server": server,
            "cpu_seconds": statistics.median(cpu for cpu, _ in found[name, server]),
            "seconds": statistics.median(seconds for _, seconds in found[name, server]),
        }
        for name in wanted
        for server in servers
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--granian", required=True, help="granian's command")
    parser.add_argument("--rounds", type=int, default=5)
    add_output_options(parser)
    given = parser.parse_args()
    with temporary_folder() as folder:
        file = folder / "gb"
        with file.open("wb") as made:
            made.truncate(GB)
        rows = measure(given.granian, given.rounds, file)
    table = Table("ASGI servers", ["what", "server", "its CPU, s", "seconds"], labels=2)
    for row in rows:
        table.add(row["what"], row["server"], f"{row['cpu_seconds']:.2f}", f"{row['seconds']:.2f}")
    show(given, [table], rows)


if __name__ == "__main__":
    main()
