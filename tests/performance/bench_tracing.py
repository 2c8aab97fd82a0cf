"""Measures what traces cost: events and small uploads a second, with traces off, and on at 10 %.

Run it with `python -m tests.performance.bench_tracing`; `--json` prints figures for programs. It starts
servers of its own. Rounds with and without traces take turns, each with one of the other kind beside it, so
that a machine with other work does not decide; what is lost is the median of all pairs. Spans go to a
collector in a process of its own, which drops them.

- events: committed to the outbox in transactions of 500, published by a relay beside it and processed by a
  consumer in a process of its own, with its inbox in the same transaction.
- uploads: files of 10 kB as forms, by clients in this process, through all services.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any

import httpx
import uvloop
from tests.performance.bench_messaging import collect, consume, fill, opened_relay, running_consumer
from tests.performance.table import Table, add_output_options, show
from tests.support.infrastructure import Infrastructure, running_infrastructure
from tests.support.traced_services import traced_services

from jettythunder import tracing
from jettythunder.settings import ServiceSettings, load

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
RATIO = "0.1"
FILE_BYTES = 10_000
CLIENTS = 8
WARM_UP_SECONDS = 2.0
QUOTA_BYTES = 10**12


@dataclass(frozen=True)
class Pair:
    """What was done in a second by a round without traces, and by the round with traces beside it."""

    off: float
    on: float


@dataclass(frozen=True)
class Figures:
    """All pairs of rounds."""

    events_per_second: list[Pair]
    uploads_per_second: list[Pair]


def lost(pairs: list[Pair]) -> float:
    """What part of the work a second traces take: the median of what they take in each pair."""
    return statistics.median(1 - pair.on / pair.off for pair in pairs)


class _Dropping(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def _drop(pipe: Pipe) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Dropping)
    pipe.send(f"http://127.0.0.1:{server.server_port}")
    server.serve_forever()


@contextmanager
def running_collector() -> Iterator[str]:
    """The address of a collector that drops everything."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_drop, args=(theirs,), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()


def consume_traced(pipe: Pipe, endpoint: str | None) -> None:
    """The consumer's process."""
    _trace("bench consumer", endpoint)
    consume(pipe)


def _trace(service: str, endpoint: str | None) -> None:
    if endpoint is not None:
        os.environ[ENDPOINT] = endpoint
        os.environ["OTEL_TRACES_SAMPLER_ARG"] = RATIO
        tracing.begin(service, load(ServiceSettings))


async def events_per_second(settings: ServiceSettings, count: int, endpoint: str | None) -> float:
    """One round of events."""
    with running_consumer(consume_traced, endpoint) as pipe:
        _trace("bench", endpoint)
        try:
            async with opened_relay(settings) as (database, relay):
                relay.start()
                began = time.perf_counter()
                collecting = asyncio.create_task(collect(pipe, count, timeout_seconds=300))
                await fill(database, count)
                await collecting
                return count / (time.perf_counter() - began)
        finally:
            await tracing.end()
            os.environ.pop(ENDPOINT, None)


async def uploads_per_second(
    infrastructure: Infrastructure, folder: Path, seconds: float, endpoint: str | None
) -> float:
    """One round of uploads, by services that are started for it."""
    traces = {} if endpoint is None else {ENDPOINT: endpoint, "OTEL_TRACES_SAMPLER_ARG": RATIO}
    given = {**traces, "OTEL_BSP_SCHEDULE_DELAY": "5000"}
    with traced_services(infrastructure, folder, given) as services:
        async with httpx.AsyncClient(timeout=60) as http:
            tenant = await services.provision(http, quota_bytes=QUOTA_BYTES)

            async def upload_until(end: float) -> int:
                count = 0
                while time.perf_counter() < end:
                    await tenant.store(os.urandom(FILE_BYTES))
                    count += 1
                return count

            async def uploaded_in(seconds: float) -> int:
                end = time.perf_counter() + seconds
                return sum(await asyncio.gather(*(upload_until(end) for _ in range(CLIENTS))))

            await uploaded_in(WARM_UP_SECONDS)
            return await uploaded_in(seconds) / seconds


async def measured_pairs(
    rounds: int, measure: Callable[[str | None], Awaitable[float]], endpoint: str
) -> list[Pair]:
    """Pairs of rounds; which of the two comes first changes from pair to pair."""
    pairs = []
    for number in range(rounds):
        rates = {}
        for is_on in (False, True) if number % 2 == 0 else (True, False):
            rates[is_on] = await measure(endpoint if is_on else None)
        pairs.append(Pair(off=rates[False], on=rates[True]))
    return pairs


async def measure(infrastructure: Infrastructure, given: argparse.Namespace) -> Figures:
    """All rounds."""
    os.environ.update(infrastructure.environment)
    settings = load(ServiceSettings)
    with running_collector() as endpoint, tempfile.TemporaryDirectory() as folder:

        async def events(endpoint: str | None) -> float:
            return await events_per_second(settings, given.events, endpoint)

        async def uploads(endpoint: str | None) -> float:
            own = Path(tempfile.mkdtemp(dir=folder))
            return await uploads_per_second(infrastructure, own, given.seconds, endpoint)

        # The first round warms the servers up.
        await events(None)
        return Figures(
            events_per_second=await measured_pairs(given.rounds, events, endpoint),
            uploads_per_second=await measured_pairs(given.upload_rounds, uploads, endpoint),
        )


def table(figures: Figures) -> Table:
    """The figures for people."""
    rows: list[tuple[str, ...]] = [
        (
            name,
            f"{statistics.median(pair.off for pair in pairs):,.0f}",
            f"{statistics.median(pair.on for pair in pairs):,.0f}",
            f"{lost(pairs):.1%}",
            f"{min(1 - pair.on / pair.off for pair in pairs):.1%} to "
            f"{max(1 - pair.on / pair.off for pair in pairs):.1%}",
        )
        for name, pairs in (
            ("events a second, outbox to inbox", figures.events_per_second),
            ("uploads of 10 kB a second", figures.uploads_per_second),
        )
        if pairs
    ]
    return Table("Traces", ["what", "off", "on at 10 %", "lost", "in each pair"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=3_000, help="events in a round")
    parser.add_argument("--rounds", type=int, default=7, help="pairs of rounds of events")
    parser.add_argument("--upload-rounds", type=int, default=2, help="pairs of rounds of uploads; 0 for none")
    parser.add_argument("--seconds", type=float, default=5, help="how long a round of uploads lasts")
    add_output_options(parser)
    given: Any = parser.parse_args()
    with running_infrastructure() as infrastructure:
        figures = uvloop.run(measure(infrastructure, given))
    show(given, [table(figures)], asdict(figures))


if __name__ == "__main__":
    main()
