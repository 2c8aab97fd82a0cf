"""Measures the event backbone: outbox, relay, broker, consumer and inbox, on real servers.

Run it with `python -m tests.performance.bench_backbone`; `--json` prints figures for programs. It starts
servers of its own, or uses those that `--environment FILE`, an env file of a running stack, leads to.

- relay: how many events a second one relay moves from the outbox to the broker, each confirmed by it.
- flow: events committed one by one at a fixed rate; the time from the commit to the end of the consumer's
  transaction, with the consumer in a process of its own and its inbox in the same transaction.
- replay: how many events a second one replay moves from the log to a consumer's queue.
- saturated: how many events a second go all the way when the outbox is full.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any
from uuid import UUID, uuid4

import uvloop
from faststream.rabbit import RabbitRouter
from jettythunder.backbone import open_backbone

from jettythunder import database, outbox
from jettythunder.broker.event_log import EventFilter
from jettythunder.broker.subscribers import consumes, of_type
from jettythunder.contracts.assets import AssetDownloadedV1
from jettythunder.contracts.envelope import Event
from jettythunder.outbox.relay import Relay
from jettythunder.settings import ServiceSettings, load
from operations.assembly import open_operations
from usage_meter.messages import MESSAGES, USAGE_METER_EVENTS

SOURCE = "/bench"
WRITE_BATCH = 500


@dataclass(frozen=True)
class Figures:
    """What was measured; times are from commit to consumed."""

    events: int
    relay_events_per_second: float
    saturated_events_per_second: float
    replay_events_per_second: float
    rate_events_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float


def payload() -> AssetDownloadedV1:
    """An event as services write them, of about 400 bytes on the wire."""
    return AssetDownloadedV1(
        account_id=uuid4(), asset_id=uuid4(), reservation_id=uuid4(), size_bytes=10_000_000
    )


async def fill(pool: database.Pool, count: int) -> None:
    """Commit ``count`` events to the outbox, many in a transaction."""
    for begin in range(0, count, WRITE_BATCH):
        async with pool.acquire() as connection, connection.transaction():
            size = min(WRITE_BATCH, count - begin)
            rows = outbox.rows(*(payload() for _ in range(size)), source=SOURCE)
            await outbox.write_rows(connection, rows)


async def measure_relay(settings: ServiceSettings, count: int) -> float:
    """Events a second that one relay publishes from a full outbox."""
    pool = await database.connect(str(settings.database_url), size=4, name="bench")
    relay = Relay(pool, settings.rabbitmq_url.get_secret_value(), name="bench")
    try:
        await relay.ping()
        await fill(pool, count)
        began = time.perf_counter()
        while (await relay.publish_batch()).size:
            pass
        return count / (time.perf_counter() - began)
    finally:
        await relay.close()
        await pool.close()


def consume(pipe: Pipe) -> None:
    """The consumer's process: sends the time at which each event was processed, and ends when it is told."""
    uvloop.run(_consume(pipe))


async def _consume(pipe: Pipe) -> None:
    seen: list[tuple[UUID, float]] = []

    router = RabbitRouter()
    subscriber = router.subscriber(**consumes(USAGE_METER_EVENTS, prefetch=100))
    async with open_backbone(
        load(ServiceSettings), name="bench-consumer", queues=MESSAGES.queues, routers=[router]
    ) as backbone:

        @subscriber(filter=of_type(AssetDownloadedV1))
        async def on_downloaded(event: Event[AssetDownloadedV1]) -> None:
            async with backbone.pool.acquire() as connection, connection.transaction():
                await outbox.first_time(connection, consumer=USAGE_METER_EVENTS.name, event_id=event.id)
            seen.append((event.id, time.time()))

        await backbone.broker.start()
        pipe.send("ready")
        while True:
            await asyncio.sleep(0.02)
            while pipe.poll():
                if pipe.recv() == "end":
                    return
            if seen:
                pipe.send(seen.copy())
                seen.clear()


@contextmanager
def running_consumer() -> Iterator[Pipe]:
    """A consumer in a process of its own, and the pipe it reports to."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=consume, args=(theirs,), daemon=True)
    process.start()
    try:
        if not ours.poll(60):
            raise SystemExit("The consumer's process did not start within a minute.")
        ours.recv()
        yield ours
        ours.send("end")
        process.join(20)
    finally:
        process.kill()


async def collect(pipe: Pipe, count: int, *, timeout_seconds: float) -> dict[UUID, float]:
    """When each of so many events was consumed."""
    consumed: dict[UUID, float] = {}
    async with asyncio.timeout(timeout_seconds):
        while len(consumed) < count:
            while pipe.poll():
                consumed.update(pipe.recv())
            await asyncio.sleep(0.01)
    return consumed


async def measure_saturated(settings: ServiceSettings, pipe: Pipe, count: int) -> float:
    """Events a second from a full outbox to the inbox."""
    pool = await database.connect(str(settings.database_url), size=4, name="bench")
    relay = Relay(pool, settings.rabbitmq_url.get_secret_value(), name="bench")
    try:
        await fill(pool, count)
        began = time.perf_counter()
        relay.start()
        await collect(pipe, count, timeout_seconds=300)
        return count / (time.perf_counter() - began)
    finally:
        await relay.close()
        await pool.close()


async def measure_flow(settings: ServiceSettings, pipe: Pipe, *, rate: float, seconds: float) -> list[float]:
    """Seconds from commit to consumed of events that come at a steady rate."""
    pool = await database.connect(str(settings.database_url), size=8, name="bench")
    relay = Relay(pool, settings.rabbitmq_url.get_secret_value(), name="bench")
    relay.start()
    count = int(rate * seconds)
    committed: dict[UUID, float] = {}

    async def commit_one() -> None:
        rows = outbox.rows(payload(), source=SOURCE)
        async with pool.acquire() as connection:
            await outbox.write_rows(connection, rows)
        committed[rows.event_ids[0]] = time.time()

    try:
        # Read while events are written: a consumer whose pipe is full would wait for its reader.
        collecting = asyncio.create_task(collect(pipe, count, timeout_seconds=seconds + 120))
        began = time.perf_counter()
        async with asyncio.TaskGroup() as writers:
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                writers.create_task(commit_one())
        consumed = await collecting
    finally:
        await relay.close()
        await pool.close()
    return [consumed[event_id] - at for event_id, at in committed.items()]


async def measure_replay(settings: ServiceSettings) -> float:
    """Events a second from the log to a consumer's queue, each confirmed by it."""
    url = settings.rabbitmq_url.get_secret_value()
    async with open_operations(str(settings.database_url), url) as operations:
        replays = operations.replays
        begun = await replays.begin(USAGE_METER_EVENTS.name, EventFilter(), who="bench", rate=None)
        began = time.perf_counter()
        done = await replays.run(begun)
        return done.replayed_count / (time.perf_counter() - began)


async def measure(count: int, *, rate: float, seconds: float) -> Figures:
    """All figures, one after the other."""
    settings = load(ServiceSettings)
    with running_consumer() as pipe:
        latencies = await measure_flow(settings, pipe, rate=rate, seconds=seconds)
        saturated = await measure_saturated(settings, pipe, count)
    # The consumer is gone now, so that what is measured last is the relay alone.
    relay = await measure_relay(settings, count)
    replay = await measure_replay(settings)
    await _empty_queue(settings)
    percentiles = statistics.quantiles(latencies, n=100)
    return Figures(
        events=count,
        relay_events_per_second=round(relay),
        saturated_events_per_second=round(saturated),
        replay_events_per_second=round(replay),
        rate_events_per_second=rate,
        p50_ms=round(percentiles[49] * 1000, 1),
        p99_ms=round(percentiles[98] * 1000, 1),
        max_ms=round(max(latencies) * 1000, 1),
    )


async def _empty_queue(settings: ServiceSettings) -> None:
    import aio_pika

    async with await aio_pika.connect(settings.rabbitmq_url.get_secret_value()) as connection:
        channel = await connection.channel()
        await (await channel.declare_queue(USAGE_METER_EVENTS.name, passive=True)).purge()


def table(figures: Figures) -> str:
    """The figures as lines for a person."""
    rows = [
        ("relay, outbox to confirmed", f"{figures.relay_events_per_second:,.0f} events/s"),
        ("outbox to consumer's inbox, saturated", f"{figures.saturated_events_per_second:,.0f} events/s"),
        ("replay, log to consumer's queue", f"{figures.replay_events_per_second:,.0f} events/s"),
        (f"commit to consumed at {figures.rate_events_per_second:.0f} events/s, p50", f"{figures.p50_ms} ms"),
        ("  p99", f"{figures.p99_ms} ms"),
        ("  longest", f"{figures.max_ms} ms"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value:>14}" for name, value in rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000, help="events in the throughput measures")
    parser.add_argument("--rate", type=float, default=200, help="events a second in the latency measure")
    parser.add_argument("--seconds", type=float, default=20, help="how long the latency measure lasts")
    parser.add_argument("--environment", help="an env file of a running stack; servers of its own without it")
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    given: Any = parser.parse_args()

    def run(environment: dict[str, str]) -> None:
        os.environ.update(environment)
        figures = uvloop.run(measure(given.events, rate=given.rate, seconds=given.seconds))
        print(json.dumps(asdict(figures), indent=2) if given.json else table(figures))

    if given.environment:
        from pathlib import Path

        from jettythunder_dev.environment import read_environment

        run(read_environment(Path(given.environment)))
        return
    from tests.support.infrastructure import running_infrastructure

    with running_infrastructure() as infrastructure:
        run(infrastructure.environment)


if __name__ == "__main__":
    main()
