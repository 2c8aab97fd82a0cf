"""The desktop CDN warm: throughput of one and of several readers, and the time of small reads.

A process of its own is filled from a gateway in this one. Readers are plain sockets in processes of their
own, so that what is measured is the server and not a client library. `--json` and `--markdown` print the
figures for programs and for the documentation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import random
import socket
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
from tests.support.cdn import Bytes, CdnProcess, Gateway, cdn_process, environment_in

SIZE_BYTES = 512 * 1024 * 1024
SMALL_BYTES = 4096
SMALL_READS = 2000
ROUNDS = 5
READERS = (1, 2, 4)
GOAL_BYTES_PER_SECOND = 1e9
GOAL_SECONDS = 0.002


def read(url: str, token: str, start: int, stop: int) -> float:
    """Seconds for one range over a new connection, its head included."""
    with _connected(url) as connection:
        began = time.perf_counter()
        _ask(connection, url, token, start, stop)
        _take(connection, stop - start)
        return time.perf_counter() - began


def small_reads(url: str, token: str, size_bytes: int) -> list[float]:
    """Seconds of each of many small reads at random places, over one connection."""
    random_ = random.Random(1)
    with _connected(url) as connection:
        found = []
        for _ in range(SMALL_READS):
            start = random_.randrange(size_bytes - SMALL_BYTES)
            began = time.perf_counter()
            _ask(connection, url, token, start, start + SMALL_BYTES)
            _take(connection, SMALL_BYTES)
            found.append(time.perf_counter() - began)
    return found


def _connected(url: str) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ask(connection: socket.socket, url: str, token: str, start: int, stop: int) -> None:
    head = (
        f"GET /v1/assets/film HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n"
        f"Authorization: Bearer {token}\r\nRange: bytes={start}-{stop - 1}\r\n\r\n"
    )
    connection.sendall(head.encode())


def _take(connection: socket.socket, size_bytes: int) -> None:
    """Read an answer's head and its body."""
    buffer = bytearray(1024 * 1024)
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1024)
    assert head.startswith(b"HTTP/1.1 206"), head
    left = size_bytes - len(head.partition(b"\r\n\r\n")[2])
    while left:
        taken = connection.recv_into(buffer, min(left, len(buffer)))
        assert taken, "the answer broke off"
        left -= taken


async def measure(cdn: CdnProcess) -> dict[str, float]:
    """The figures of a filled desktop CDN."""
    found: dict[str, float] = {}
    loop = asyncio.get_running_loop()
    context = multiprocessing.get_context("spawn")
    with context.Pool(max(READERS)) as pool:
        pool.map(abs, range(max(READERS)))
        for readers in READERS:
            rates = []
            for _ in range(ROUNDS):
                jobs = [(cdn.url, cdn.token, 0, SIZE_BYTES)] * readers
                seconds = await loop.run_in_executor(None, pool.starmap, read, jobs)
                rates.append(readers * SIZE_BYTES / max(seconds))
            found[f"bytes_per_second_{readers}"] = statistics.median(rates)
        times = await loop.run_in_executor(None, pool.apply, small_reads, (cdn.url, cdn.token, SIZE_BYTES))
    found["small_p50_seconds"] = statistics.median(times)
    found["small_p99_seconds"] = statistics.quantiles(times, n=100)[98]
    return found


async def run() -> dict[str, float]:
    """Fill a desktop CDN, and measure it."""
    gateway = Gateway()
    runner = await gateway.start()
    gateway.add("film", Bytes(SIZE_BYTES))
    with tempfile.TemporaryDirectory(prefix="jettythunder-") as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        environment = environment_in(Path(folder), api_url=gateway.url, port=port)
        async with aiohttp.ClientSession() as http, cdn_process(environment, http) as cdn:
            began = time.perf_counter()
            headers = {"Authorization": f"Bearer {cdn.token}"}
            async with http.get(f"{cdn.url}/v1/assets/film", headers=headers) as response:
                async for _ in response.content.iter_chunked(1024 * 1024):
                    pass
            cold = SIZE_BYTES / (time.perf_counter() - began)
            figures = {"cold_bytes_per_second": cold, **await measure(cdn)}
            figures["peak_memory_bytes"] = cdn.resident_bytes
    await runner.cleanup()
    return figures


def rows(figures: dict[str, float]) -> list[tuple[str, str, str]]:
    """The figures as people read them, with their goals."""
    return [
        (
            "cold read, from a gateway on this machine",
            f"{figures['cold_bytes_per_second'] / 1e9:.2f} GB/s",
            "",
        ),
        *(
            (
                f"warm, {readers} reader{'s' if readers > 1 else ''}",
                f"{figures[f'bytes_per_second_{readers}'] / 1e9:.2f} GB/s",
                "≥ 1 GB/s" if readers == 1 else "",
            )
            for readers in READERS
        ),
        ("warm, 4 KiB, median", f"{figures['small_p50_seconds'] * 1e3:.2f} ms", "< 2 ms"),
        ("warm, 4 KiB, 99 of 100", f"{figures['small_p99_seconds'] * 1e3:.2f} ms", ""),
        ("most memory", f"{figures['peak_memory_bytes'] / 1e6:.0f} MB", "< 64 MiB"),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true")
    given = parser.parse_args(arguments)
    figures = asyncio.run(run())
    if given.json:
        print(json.dumps(figures))
    else:
        rule = "|---|---:|---|" if given.markdown else ""
        print("| desktop CDN | measured | goal |" if given.markdown else "Desktop CDN")
        print(rule, end="\n" if rule else "")
        for row in rows(figures):
            print(f"| {' | '.join(row)} |" if given.markdown else f"  {row[0]:<44}{row[1]:>12}  {row[2]}")
    reached = (
        figures["bytes_per_second_1"] >= GOAL_BYTES_PER_SECOND and figures["small_p50_seconds"] < GOAL_SECONDS
    )
    return 0 if reached else 1


if __name__ == "__main__":
    raise SystemExit(main())
