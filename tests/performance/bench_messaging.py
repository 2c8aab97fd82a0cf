"""Measures messaging: outbox, relay, broker, consumer and inbox, on real servers.

Run it with `python -m tests.performance.bench_messaging`; `--json` prints figures for programs. It starts
servers of its own, or uses those that `--environment FILE`, an env file of a running stack, leads to.

- commits: how many transactions a second 16 writers commit, each a small change of state with its event. With
  `--with-notify` also where each insert into the outbox notifies a listener, as the schema once did: rounds
  with and without take turns, on databases of their own.
- relay: how many events a second one relay moves from the outbox to the broker, each confirmed by it.
- flow: events committed one by one at a fixed rate; the time from the commit to the end of the consumer's
  transaction, with the consumer in a process of its own and its inbox in the same transaction.
- replay: how many events a second one replay moves from the log to a consumer's queue.
- saturated: how many events a second go all the way when the outbox is full.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import asyncpg
import uvloop
from faststream.rabbit import RabbitRouter
from tests.performance.table import Table, add_output_options, show
from tests.support.infrastructure import empty_database, running_infrastructure
from tests.support.outbox import write

from jettythunder import outbox
from jettythunder.broker.connection import BrokerLink, declare_topology
from jettythunder.broker.event_log import EventFilter
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.subscribers import consumes, make_broker, of_type
from jettythunder.contracts.assets import AssetDownloadedV1
from jettythunder.contracts.envelope import Event
from jettythunder.database import Database, Queries
from jettythunder.outbox.relay import Relay
from jettythunder.settings import BrokerSettings, ServiceSettings, load
from jettythunder_dev.environment import read_environment
from jettythunder_migrations import migrate
from operations.assembly import open_operations
from usage_meter.messages import MESSAGES, USAGE_METER_EVENTS

WRITE_BATCH = 500
WRITERS = 16
COMMIT_ROUNDS = 3
CHANNEL = "outbox_bench"

_STATES = f"""
CREATE TABLE bench_states (writer INTEGER PRIMARY KEY, changes BIGINT NOT NULL DEFAULT 0);
INSERT INTO bench_states (writer) SELECT generate_series(1, {WRITERS});
"""
_NOTIFY = f"""
CREATE FUNCTION notify_outbox() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('{CHANNEL}', current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE TRIGGER outbox_notify AFTER INSERT ON outbox FOR EACH STATEMENT EXECUTE FUNCTION notify_outbox();
"""

_change_state = Queries("tests.performance").run("change_state")


@dataclass(frozen=True)
class Figures:
    """What was measured; times are from commit to consumed, ``load`` is that of the machine at the end."""

    events: int
    commits_per_second: float
    commits_per_second_with_notify: float | None
    relay_events_per_second: float
    saturated_events_per_second: float
    replay_events_per_second: float
    rate_events_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    load: float

    @property
    def notify_ratio(self) -> float | None:
        """How many times as many commits there are without notifications as with them."""
        notified = self.commits_per_second_with_notify
        return None if notified is None else self.commits_per_second / notified


def payload() -> AssetDownloadedV1:
    """An event as services write them, of about 400 bytes on the wire."""
    return AssetDownloadedV1(
        account_id=uuid4(), asset_id=uuid4(), reservation_id=uuid4(), size_bytes=10_000_000
    )


@asynccontextmanager
async def opened_database(url: str, *, size: int) -> AsyncIterator[Database]:
    """A database, as its owner."""
    database = Database(url, name="bench", size=size)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def opened_relay(settings: ServiceSettings, *, size: int = 4) -> AsyncIterator[tuple[Database, Relay]]:
    """A database with its relay, which is not started."""
    link = BrokerLink(settings.rabbitmq_url.get_secret_value(), name="bench relay")
    async with opened_database(str(settings.database_url), size=size) as database:
        relay = Relay(database, Publisher(link))
        try:
            yield database, relay
        finally:
            await relay.close()
            await link.close()


async def fill(database: Database, count: int) -> None:
    """Commit ``count`` events to the outbox, many in a transaction."""
    for begin in range(0, count, WRITE_BATCH):
        await write(database, *(payload() for _ in range(min(WRITE_BATCH, count - begin))))


async def measure_commits(
    settings: ServiceSettings, *, seconds: float, with_notify: bool
) -> tuple[float, float | None]:
    """Commits a second without notifications, and with them where asked for; the medians of their rounds."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    variants = (False, True) if with_notify else (False,)
    for _ in range(COMMIT_ROUNDS):
        for notifies in variants:
            with empty_database(str(settings.database_url)) as url:
                await asyncio.to_thread(migrate, url)
                rates[notifies].append(await _commit_round(url, seconds, notifies=notifies))
    return statistics.median(rates[False]), statistics.median(rates[True]) if with_notify else None


async def _commit_round(url: str, seconds: float, *, notifies: bool) -> float:
    owner = await asyncpg.connect(url)
    try:
        await owner.execute(_STATES)
        if notifies:
            await owner.execute(_NOTIFY)
            await owner.add_listener(CHANNEL, lambda *_: None)
        async with opened_database(url, size=WRITERS) as database:
            # A first second opens the connections.
            await _write_for(database, 1)
            return await _write_for(database, seconds)
    finally:
        await owner.close()


async def _write_for(database: Database, seconds: float) -> float:
    """Commits a second of all writers together."""
    began = time.perf_counter()

    async def commit_on(writer: int) -> int:
        count = 0
        while time.perf_counter() < began + seconds:
            await _change_state(database, writer=writer, **vars(outbox.rows(payload(), source="/bench")))
            count += 1
        return count

    counts = await asyncio.gather(*(commit_on(writer) for writer in range(1, WRITERS + 1)))
    return sum(counts) / (time.perf_counter() - began)


async def measure_relay(settings: ServiceSettings, count: int) -> float:
    """Events a second that one relay publishes from a full outbox."""
    async with opened_relay(settings) as (database, relay):
        await relay.publish_batch()
        await fill(database, count)
        began = time.perf_counter()
        while (await relay.publish_batch()).size:
            pass
        return count / (time.perf_counter() - began)


Obey = Callable[[Any], Awaitable[None]]


def consume(pipe: Pipe, obey: Obey | None = None) -> None:
    """The consumer's process: sends when each event was processed, and ends when it is asked to.

    Args:
        obey: takes whatever else it is sent.
    """
    uvloop.run(_consume(pipe, obey))


async def _consume(pipe: Pipe, obey: Obey | None) -> None:
    settings = load(ServiceSettings)
    seen: list[tuple[UUID, float]] = []
    url = settings.rabbitmq_url.get_secret_value()
    router = RabbitRouter()
    subscriber = router.subscriber(**consumes(USAGE_METER_EVENTS, prefetch=100))
    await declare_topology(settings, MESSAGES.queues)
    link = BrokerLink(url, name="bench consumer")
    async with opened_database(str(settings.database_url), size=10) as database:

        @subscriber(filter=of_type(AssetDownloadedV1))
        async def on_downloaded(event: Event[AssetDownloadedV1]) -> None:
            async with database.transaction() as connection:
                await outbox.first_time(
                    connection,
                    consumer=USAGE_METER_EVENTS.name,
                    event_id=event.id,
                    event_time=event.time,
                )
            seen.append((event.id, time.time()))

        # Without a relay, so that the one that is measured is the only one.
        broker = make_broker(
            url,
            Publisher(link),
            [router],
            retry_delays_ms=settings.retry_delays_ms,
        )
        await broker.start()
        pipe.send("ready")
        try:
            await _report(pipe, seen, obey)
        finally:
            await broker.drain()
            await broker.stop()
            await link.close()


async def _report(pipe: Pipe, seen: list[tuple[UUID, float]], obey: Obey | None) -> None:
    while True:
        await asyncio.sleep(0.02)
        while pipe.poll():
            if (asked := pipe.recv()) == "end":
                return
            if obey is not None:
                await obey(asked)
        if seen:
            pipe.send(seen.copy())
            seen.clear()


@dataclass(frozen=True)
class RunningConsumer:
    """A consumer in a process of its own, and the pipe it reports to."""

    pipe: Pipe
    pid: int


@contextmanager
def running_consumer(run: Callable[[Pipe], None] = consume) -> Iterator[RunningConsumer]:
    """Start a consumer, and end it at the block's end."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(theirs,), daemon=True)
    process.start()
    try:
        if not ours.poll(60):
            raise SystemExit("The consumer's process did not start within a minute.")
        ours.recv()
        yield RunningConsumer(ours, process.pid or 0)
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
    async with opened_relay(settings) as (database, relay):
        await fill(database, count)
        began = time.perf_counter()
        relay.start()
        await collect(pipe, count, timeout_seconds=300)
        return count / (time.perf_counter() - began)


async def measure_flow(settings: ServiceSettings, pipe: Pipe, *, rate: float, seconds: float) -> list[float]:
    """Seconds from commit to consumed of events that come at a steady rate."""
    count = int(rate * seconds)
    committed: dict[UUID, float] = {}
    async with opened_relay(settings, size=8) as (database, relay):
        relay.start()

        async def commit_one() -> None:
            [event_id] = await write(database, payload())
            committed[event_id] = time.time()

        # Read while events are written: a consumer whose pipe is full would wait for its reader.
        collecting = asyncio.create_task(collect(pipe, count, timeout_seconds=seconds + 120))
        began = time.perf_counter()
        async with asyncio.TaskGroup() as writers:
            for number in range(count):
                await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
                writers.create_task(commit_one())
        consumed = await collecting
    return [consumed[event_id] - at for event_id, at in committed.items()]


async def measure_replay(settings: ServiceSettings) -> float:
    """Events a second from the log to a consumer's queue, each confirmed by it."""
    url = settings.rabbitmq_url.get_secret_value()
    async with open_operations(str(settings.database_url), BrokerSettings(rabbitmq_url=url)) as operations:
        replays = operations.replays
        begun = await replays.begin(USAGE_METER_EVENTS.name, EventFilter(), who="bench", rate=None)
        began = time.perf_counter()
        done = await replays.run(begun)
        return done.replayed_count / (time.perf_counter() - began)


async def measure(given: argparse.Namespace) -> Figures:
    """All figures, one after the other."""
    settings = load(ServiceSettings)
    commits, notified = await measure_commits(
        settings, seconds=given.commit_seconds, with_notify=given.with_notify
    )
    with running_consumer() as consumer:
        latencies = await measure_flow(settings, consumer.pipe, rate=given.rate, seconds=given.seconds)
        saturated = await measure_saturated(settings, consumer.pipe, given.events)
    # The consumer is gone now, so that what is measured last is the relay alone.
    relay = await measure_relay(settings, given.events)
    replay = await measure_replay(settings)
    await _empty_queue(settings)
    percentiles = statistics.quantiles(latencies, n=100)
    return Figures(
        events=given.events,
        commits_per_second=round(commits),
        commits_per_second_with_notify=None if notified is None else round(notified),
        relay_events_per_second=round(relay),
        saturated_events_per_second=round(saturated),
        replay_events_per_second=round(replay),
        rate_events_per_second=given.rate,
        p50_ms=round(percentiles[49] * 1000, 1),
        p99_ms=round(percentiles[98] * 1000, 1),
        max_ms=round(max(latencies) * 1000, 1),
        load=round(os.getloadavg()[0], 1),
    )


async def _empty_queue(settings: ServiceSettings) -> None:
    async with await aio_pika.connect(settings.rabbitmq_url.get_secret_value()) as connection:
        channel = await connection.channel()
        await (await channel.declare_queue(USAGE_METER_EVENTS.name, passive=True)).purge()


def table(figures: Figures) -> Table:
    """The figures for people."""
    rows: list[tuple[str, ...]] = [
        (f"commits of {WRITERS} writers, each with an event", f"{figures.commits_per_second:,.0f} /s")
    ]
    if figures.notify_ratio is not None:
        rows += [
            ("where each notifies a listener", f"{figures.commits_per_second_with_notify:,.0f} /s"),
            ("without / with notifications", f"{figures.notify_ratio:.2f}x"),
        ]
    rows += [
        ("relay, outbox to confirmed", f"{figures.relay_events_per_second:,.0f} events/s"),
        ("outbox to consumer's inbox, saturated", f"{figures.saturated_events_per_second:,.0f} events/s"),
        ("replay, log to consumer's queue", f"{figures.replay_events_per_second:,.0f} events/s"),
        (f"commit to consumed at {figures.rate_events_per_second:.0f} events/s, p50", f"{figures.p50_ms} ms"),
        ("the same, p99", f"{figures.p99_ms} ms"),
        ("the same, longest", f"{figures.max_ms} ms"),
        ("the machine's load at the end", f"{figures.load}"),
    ]
    return Table("Messaging", ["what", "measured"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=20_000, help="events in the throughput measures")
    parser.add_argument("--rate", type=float, default=200, help="events a second in the latency measure")
    parser.add_argument("--seconds", type=float, default=20, help="how long the latency measure lasts")
    parser.add_argument("--commit-seconds", type=float, default=5, help="how long a round of commits lasts")
    parser.add_argument("--with-notify", action="store_true", help="compare commits with those that notify")
    parser.add_argument("--environment", help="an env file of a running stack; servers of its own without it")
    add_output_options(parser)
    given: Any = parser.parse_args()

    def run(environment: dict[str, str]) -> None:
        os.environ.update(environment)
        figures = uvloop.run(measure(given))
        show(given, [table(figures)], {**asdict(figures), "notify_ratio": figures.notify_ratio})

    if given.environment:
        run(read_environment(Path(given.environment)))
        return
    with running_infrastructure() as infrastructure:
        run(infrastructure.environment)


if __name__ == "__main__":
    main()
