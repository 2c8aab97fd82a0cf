"""Measures what traces cost: CPU time and throughput of events and small uploads, with traces off, and on at
10 %.

Run it with `python -m tests.performance.bench_tracing`; `--json` prints figures for programs. It starts
servers of its own. Rounds with and without traces take turns, each with one of the other kind beside it, so
that a machine with other work does not decide; what traces add is the median of all pairs. CPU time is the
figure to go by: other work on the machine changes it little, and throughput much. Spans go to a collector in
a process of its own, which drops them; each round's time includes their sending.

- events: committed to the outbox in transactions of 500 and published by a relay in this process, and
  processed by a consumer in a process of its own, with its inbox in the same transaction. Both live through
  all rounds.
- uploads: files of 10 kB as forms, through all services, which are started for each round.
- off: one call of a span in a process without traces.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import multiprocessing
import os
import statistics
import time
import timeit
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection as Pipe
from typing import Any

import asyncpg
import uvloop
from tests.performance.bench_cpu import NO_RATE_LIMIT, Bench, progress
from tests.performance.bench_messaging import collect, consume, fill, opened_relay, running_consumer
from tests.performance.contenders import Api, at_once
from tests.performance.processes import CLIENT, Processes
from tests.performance.stack import provision, running_services, server_pids
from tests.performance.table import Table, add_output_options, show
from tests.support.infrastructure import Infrastructure, running_infrastructure, temporary_folder

from jettythunder import tracing
from jettythunder.settings import ServiceSettings, load

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
RATIO = "0.1"
FILE_BYTES = 10_000
CLIENTS = 8
WARM_UP_UPLOADS = 50
# How often services send spans in the bench, and how long is waited until the last ones are sent.
SCHEDULE_MS, SENT_SECONDS = 1000, 1.5
OFF_CALLS = 200_000
SERVERS = ("PostgreSQL", "RabbitMQ", "S3 server")


@dataclass(frozen=True)
class Round:
    """What was done in a second, and the CPU time of one event or upload in microseconds, by process."""

    per_second: float
    cpu_us: dict[str, float]

    @property
    def services_us(self) -> float:
        """The CPU time of all processes but the servers'."""
        return sum(used for name, used in self.cpu_us.items() if name not in SERVERS)


@dataclass(frozen=True)
class Pair:
    """A round without traces, and the round with traces beside it."""

    off: Round
    on: Round


@dataclass(frozen=True)
class Figures:
    """All pairs of rounds, and the seconds that one call of a span takes where traces are off."""

    events: list[Pair]
    uploads: list[Pair]
    off_call_seconds: float


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


def _begin_round(service: str, endpoint: str | None) -> None:
    """Trace from now on where there is a collector.

    What is in memory by now is no longer looked through for garbage: that takes as long as a hundred events,
    and would be in one round and not in the other.
    """
    if endpoint is not None:
        os.environ |= _traced(endpoint)
        tracing.begin(service, load(ServiceSettings))
    gc.collect()
    gc.freeze()


def _traced(endpoint: str) -> dict[str, str]:
    return {ENDPOINT: endpoint, "OTEL_TRACES_SAMPLER_ARG": RATIO}


def consume_traced(pipe: Pipe) -> None:
    """The consumer's process, which is sent when a round begins and ends, and where to trace to."""

    async def obey(asked: tuple[str, str | None]) -> None:
        what, endpoint = asked
        if what == "begin":
            _begin_round("bench consumer", endpoint)
        else:
            await tracing.end()
        pipe.send("done")

    consume(pipe, obey)


async def measure_events(
    infrastructure: Infrastructure, endpoint: str, *, rounds: int, count: int
) -> list[Pair]:
    """Pairs of rounds of so many events."""
    with running_consumer(consume_traced) as consumer:
        async with opened_relay(load(ServiceSettings)) as (database, relay):
            relay.start()
            servers = server_pids(infrastructure)
            processes = Processes({"consumer": [consumer.pid], **servers})

            async def ask(what: str, to: str | None) -> None:
                consumer.pipe.send((what, to))
                await asyncio.to_thread(consumer.pipe.recv)

            async def measure(*, is_on: bool) -> Round:
                to = endpoint if is_on else None
                _begin_round("bench", to)
                await ask("begin", to)
                with processes.measured() as taken:
                    began = time.perf_counter()
                    collecting = asyncio.create_task(collect(consumer.pipe, count, timeout_seconds=300))
                    await fill(database, count)
                    await collecting
                    seconds = time.perf_counter() - began
                    await tracing.end()
                    await ask("end", None)
                used = taken.cpu_seconds
                used["writer and relay"] = used.pop(CLIENT)
                return _round(count, seconds, used)

            # The first rounds open connections and import.
            await measured_pairs(1, measure)
            return await measured_pairs(rounds, measure)


async def measure_uploads(
    infrastructure: Infrastructure, endpoint: str, *, rounds: int, count: int
) -> list[Pair]:
    """Pairs of rounds of so many uploads, each by services that are started for it."""

    async def measure(*, is_on: bool) -> Round:
        given = {**_traced(endpoint), "OTEL_BSP_SCHEDULE_DELAY": str(SCHEDULE_MS)} if is_on else {}
        async with asyncpg.create_pool(infrastructure.database_url, min_size=1, max_size=1) as pool:
            await pool.execute(NO_RATE_LIMIT)
            with (
                temporary_folder() as folder,
                running_services(
                    infrastructure, folder, s3=infrastructure.s3, workers=1, environment=given
                ) as services,
            ):
                account = await provision(services.gateway_url, services.environment)
                bench = Bench(services, pool)
                async with Api(services.gateway_url, account).sender() as send:

                    async def upload(count: int) -> float:
                        booked = await bench.booked() + count
                        seconds = await at_once(
                            lambda: send(os.urandom(FILE_BYTES)), count, concurrency=CLIENTS
                        )
                        await bench.settle(booked)
                        await asyncio.sleep(SENT_SECONDS)
                        return seconds

                    await upload(WARM_UP_UPLOADS)
                    with Processes(services.pids).measured() as taken:
                        seconds = await upload(count)
                taken.cpu_seconds.pop(CLIENT)
                return _round(count, seconds, taken.cpu_seconds)

    return await measured_pairs(rounds, measure)


def _round(count: int, seconds: float, cpu_seconds: dict[str, float]) -> Round:
    return Round(count / seconds, {name: used / count * 1e6 for name, used in cpu_seconds.items()})


async def measured_pairs(rounds: int, measure: Callable[..., Awaitable[Round]]) -> list[Pair]:
    """Pairs of rounds; which of the two comes first changes from pair to pair."""
    pairs = []
    for number in range(rounds):
        measured = {}
        for is_on in (False, True) if number % 2 == 0 else (True, False):
            measured[is_on] = await measure(is_on=is_on)
        pair = Pair(off=measured[False], on=measured[True])
        progress.print(f"  {pair.off.services_us:,.0f} µs off, {pair.on.services_us:,.0f} µs on")
        pairs.append(pair)
    return pairs


def measure_off() -> float:
    """The seconds that one call of a span takes where traces are off."""

    def call() -> None:
        with tracing.calling("call", {}):
            pass

    return min(timeit.repeat(call, number=OFF_CALLS, repeat=5)) / OFF_CALLS


async def measure(infrastructure: Infrastructure, given: argparse.Namespace) -> Figures:
    """All figures, one after the other."""
    off_call_seconds = measure_off()
    os.environ.update(infrastructure.environment)
    with running_collector() as endpoint:
        events = await measure_events(infrastructure, endpoint, rounds=given.rounds, count=given.events)
        uploads = await measure_uploads(
            infrastructure, endpoint, rounds=given.upload_rounds, count=given.uploads
        )
    return Figures(events, uploads, off_call_seconds)


def table(what: str, pairs: list[Pair]) -> Table:
    """The figures for people: medians, and where the middle half of the pairs lies."""
    figures = Table(
        f"Traces: {len(pairs)} pairs of rounds of {what}s",
        ["median", "off", "on at 10 %", "more", "half of the pairs"],
    )

    def add(name: str, of: Callable[[Round], float]) -> None:
        off, on = (statistics.median(of(each) for each in rounds) for rounds in _rounds(pairs))
        if not off:
            return
        # What takes next to nothing has rounds in which it took nothing.
        more = [of(pair.on) / of(pair.off) - 1 for pair in pairs if of(pair.off)]
        low, middle, high = statistics.quantiles(more, n=4, method="inclusive") if len(more) > 1 else more * 3
        figures.add(name, f"{off:,.0f}", f"{on:,.0f}", f"{middle:+.1%}", f"{low:+.1%} to {high:+.1%}")

    add(f"{what}s a second", lambda each: each.per_second)
    add(f"CPU µs of one {what}, services", lambda each: each.services_us)
    for process in pairs[0].off.cpu_us:
        add(process, lambda each, process=process: each.cpu_us[process])  # type: ignore[misc]
    return figures


def _rounds(pairs: list[Pair]) -> tuple[list[Round], list[Round]]:
    return [pair.off for pair in pairs], [pair.on for pair in pairs]


def tables(figures: Figures) -> list[Table]:
    """All tables."""
    measured = (("event", figures.events), ("upload", figures.uploads))
    off = Table("Traces off", ["what", "µs"], [("a span", f"{figures.off_call_seconds * 1e6:.2f}")])
    return [*(table(what, pairs) for what, pairs in measured if pairs), off]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=3_000, help="events in a round")
    parser.add_argument("--rounds", type=int, default=15, help="pairs of rounds of events")
    parser.add_argument("--uploads", type=int, default=200, help="uploads in a round")
    parser.add_argument("--upload-rounds", type=int, default=4, help="pairs of rounds of uploads; 0 for none")
    add_output_options(parser)
    given: Any = parser.parse_args()
    with running_infrastructure() as infrastructure:
        figures = uvloop.run(measure(infrastructure, given))
    show(given, tables(figures), asdict(figures))


if __name__ == "__main__":
    main()
