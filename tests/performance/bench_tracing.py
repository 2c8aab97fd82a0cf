"""Measures what traces cost: events and small uploads a second, with traces off, and on at 10 %.

Run it with `python -m tests.performance.bench_tracing`; `--json` prints figures for programs. It starts
servers of its own. Rounds with and without traces take turns, and what is given are the medians. Spans go to
a collector in a process of its own, which drops them.

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
from collections.abc import Iterator
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
class Figures:
    """The medians of all rounds."""

    events_per_second_off: float
    events_per_second_on: float
    uploads_per_second_off: float
    uploads_per_second_on: float

    @property
    def events_lost(self) -> float:
        """What part of the events a second traces take."""
        return 1 - self.events_per_second_on / self.events_per_second_off

    @property
    def uploads_lost(self) -> float:
        """What part of the uploads a second traces take."""
        return 1 - self.uploads_per_second_on / self.uploads_per_second_off


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


async def measure(infrastructure: Infrastructure, given: argparse.Namespace) -> Figures:
    """All rounds, off and on in turns; which of the two comes first changes from round to round."""
    os.environ.update(infrastructure.environment)
    settings = load(ServiceSettings)
    events: dict[bool, list[float]] = {False: [], True: []}
    uploads: dict[bool, list[float]] = {False: [], True: []}
    with running_collector() as endpoint, tempfile.TemporaryDirectory() as folder:
        # The first round warms the servers up.
        await events_per_second(settings, given.events // 4, None)
        for number in range(given.rounds):
            for is_on in (False, True) if number % 2 == 0 else (True, False):
                rate = await events_per_second(settings, given.events, endpoint if is_on else None)
                events[is_on].append(rate)
        for number in range(given.upload_rounds):
            for is_on in (False, True) if number % 2 == 0 else (True, False):
                own = Path(folder) / f"{number}-{is_on}"
                own.mkdir()
                rate = await uploads_per_second(
                    infrastructure, own, given.seconds, endpoint if is_on else None
                )
                uploads[is_on].append(rate)
    return Figures(
        events_per_second_off=round(statistics.median(events[False])),
        events_per_second_on=round(statistics.median(events[True])),
        uploads_per_second_off=round(statistics.median(uploads[False]), 1),
        uploads_per_second_on=round(statistics.median(uploads[True]), 1),
    )


def table(figures: Figures) -> Table:
    """The figures for people."""
    rows: list[tuple[str, ...]] = [
        (
            "events a second, outbox to inbox",
            f"{figures.events_per_second_off:,.0f}",
            f"{figures.events_per_second_on:,.0f}",
            f"{figures.events_lost:.1%}",
        ),
        (
            "uploads of 10 kB a second",
            f"{figures.uploads_per_second_off:,.1f}",
            f"{figures.uploads_per_second_on:,.1f}",
            f"{figures.uploads_lost:.1%}",
        ),
    ]
    return Table("Traces", ["what", "off", "on at 10 %", "lost"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000, help="events in a round")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of rounds of events")
    parser.add_argument("--upload-rounds", type=int, default=3, help="pairs of rounds of uploads")
    parser.add_argument("--seconds", type=float, default=10, help="how long a round of uploads lasts")
    add_output_options(parser)
    given: Any = parser.parse_args()
    with running_infrastructure() as infrastructure:
        figures = uvloop.run(measure(infrastructure, given))
    lost = {"events_lost": figures.events_lost, "uploads_lost": figures.uploads_lost}
    show(given, [table(figures)], {**asdict(figures), **lost})


if __name__ == "__main__":
    main()
