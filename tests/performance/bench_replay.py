"""Measures replay on running services: the whole log to each consumer, all of it processed before.

    python -m tests.performance.bench_replay --events 10000
    python -m tests.performance.bench_replay --events 10000 --size 100       # tables that are large already

A history is made first: users who signed up and changed tiers by event, downloads of theirs, thresholds they
crossed, and alarms about assets. CPU times are those of the replay itself, of the consumer's service and of
the servers, for each event wanted. What a replay must leave as it is, is compared: a checksum of every
business table, before and after, and the number of webhooks that AgentCache got. Tables that were filled
before are not compared: that would take longer than the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import uvloop
from aiohttp import web
from rich.console import Console
from tests.performance.filling import close_open_work, fill, give_memory
from tests.performance.processes import CLIENT, Processes
from tests.performance.stack import server_pids
from tests.performance.table import Table, add_output_options, show
from tests.support.history import checksums, count_messages, is_settled
from tests.support.infrastructure import Infrastructure, Services, running_infrastructure, start_services
from tests.support.waiting import eventually

from jettythunder import outbox
from jettythunder.broker import topology
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.event_log import EventFilter
from jettythunder.broker.publisher import Publisher
from jettythunder.contracts.agentcache import UserSignedUpV1, UserTierChangedV1
from jettythunder.contracts.assets import AssetDownloadedV1, AssetObjectMissingV1
from jettythunder.contracts.envelope import Payload
from jettythunder.contracts.quota import QuotaThresholdCrossedV1
from jettythunder.database import Database
from operations.assembly import Operations, open_operations
from provisioning.messages import PROVISIONING_EVENTS

SOURCE = "/bench"
USERS = 200
AT_ONCE = 500
HISTORY_SECONDS = 300

CONSUMER = "consumer"
CPU_COLUMNS = {"replay": CLIENT, CONSUMER: CONSUMER, "broker": "RabbitMQ", "database": "PostgreSQL"}

progress = Console(stderr=True)


@dataclass(frozen=True)
class Figures:
    """One consumer's replay. The rate is that of all of it: the log read, and its inbox asked."""

    consumer: str
    events: int
    events_per_second: float
    delivered: int
    cpu_us_per_event: dict[str, int]
    tables: int
    tables_changed: list[str]
    webhooks_sent: int

    @property
    def changed_nothing(self) -> bool:
        return not self.tables_changed and not self.webhooks_sent


class Receiver:
    """AgentCache's end of the webhooks: takes all and counts them."""

    def __init__(self) -> None:
        self.taken = 0

    async def _take(self, _: web.Request) -> web.Response:
        self.taken += 1
        return web.Response(status=204)

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Its address."""
        app = web.Application()
        app.router.add_post("/", self._take)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield f"http://{host}:{port}/"
        finally:
            await runner.cleanup()


async def publish(publisher: Publisher, payloads: Sequence[Payload]) -> None:
    """Publish as AgentCache does, each confirmed."""
    for begin in range(0, len(payloads), AT_ONCE):
        batch = payloads[begin : begin + AT_ONCE]
        await asyncio.gather(
            *(
                publisher.send(payload, exchange=topology.AGENTCACHE_EVENTS, source=SOURCE)
                for payload in batch
            )
        )


def happenings(account_id: UUID) -> tuple[Payload, ...]:
    """One event for each consumer that hears of accounts at work."""
    asset_id = uuid4()
    return (
        AssetDownloadedV1(account_id=account_id, asset_id=asset_id, reservation_id=uuid4(), size_bytes=1_000),
        AssetObjectMissingV1(
            account_id=account_id, asset_id=asset_id, s3_bucket="bucket", s3_key=str(asset_id), size_bytes=1
        ),
        QuotaThresholdCrossedV1(
            account_id=account_id,
            resource="storage",
            used_bytes=80,
            quota_bytes=100,
            threshold_percent=80,
        ),
    )


async def make_history(
    services: Services,
    pool: asyncpg.Pool[asyncpg.Record],
    database: Database,
    operations: Operations,
    publisher: Publisher,
    events: int,
) -> None:
    """At least so many events for each consumer, all of them processed."""
    users = [f"bench-{number}" for number in range(USERS)]
    signups = [UserSignedUpV1(user_id=user, email="bench@example.com", tier="pro") for user in users]
    await publish(publisher, signups)
    account_ids: list[UUID] = []

    async def all_signed_up() -> bool:
        rows = await pool.fetch("SELECT id FROM agentcache_accounts WHERE folder_created_at IS NOT NULL")
        account_ids[:] = [row["id"] for row in rows]
        return len(rows) == USERS

    await eventually(all_signed_up, timeout_seconds=HISTORY_SECONDS, poll_seconds=0.5)
    tiers = ("business", "enterprise")
    changes = [
        UserTierChangedV1(user_id=users[number % USERS], tier=tiers[number // USERS % 2])
        for number in range(events - USERS)
    ]
    await publish(publisher, changes)
    for begin in range(0, events, AT_ONCE):
        told = [
            payload
            for number in range(begin, min(begin + AT_ONCE, events))
            for payload in happenings(account_ids[number % USERS])
        ]
        await outbox.write(database, *told, source=SOURCE)

    async def processed(wanted: Mapping[str, int]) -> bool:
        done = {name: await count_messages(services, name) for name in wanted}
        progress.print(f"  history: {done}", highlight=False)
        return all(done[name] >= wanted[name] for name in wanted) and await is_settled(pool)

    # Provisioning's work makes events for the others, so it is done first.
    first = {PROVISIONING_EVENTS.name: events}
    await eventually(lambda: processed(first), timeout_seconds=HISTORY_SECONDS, poll_seconds=2)
    every = {
        queue.name: (await operations.replays.count(queue.name, EventFilter())).events
        for queue in topology.event_queues()
    }
    await eventually(lambda: processed(every), timeout_seconds=HISTORY_SECONDS, poll_seconds=1)


async def measure(
    services: Services,
    pool: asyncpg.Pool[asyncpg.Record],
    operations: Operations,
    receiver: Receiver,
    queue: topology.ConsumerQueue,
    *,
    compares_tables: bool,
) -> Figures:
    """Replay the whole log to one consumer."""
    before = await checksums(pool) if compares_tables else {}
    taken_before = receiver.taken
    replays = operations.replays
    consumer = services.pid(queue.name.partition(".")[0])
    processes = Processes({CONSUMER: [consumer], **server_pids(services.infrastructure)})
    with processes.measured() as taken:
        begun = await replays.begin(queue.name, EventFilter(), who="bench", rate=None)
        began = time.perf_counter()
        done = await replays.run(begun)
        seconds = time.perf_counter() - began
    await eventually(lambda: is_settled(pool), timeout_seconds=HISTORY_SECONDS)
    after = await checksums(pool) if compares_tables else {}
    return Figures(
        consumer=queue.name,
        events=done.replayed_count,
        events_per_second=round(done.replayed_count / seconds),
        delivered=done.replayed_count - done.processed_before_count,
        cpu_us_per_event={
            name: round(taken.cpu_seconds[group] / done.replayed_count * 1e6)
            for name, group in CPU_COLUMNS.items()
        },
        tables=len(before),
        tables_changed=[table for table in before if before[table] != after[table]],
        webhooks_sent=receiver.taken - taken_before,
    )


async def fill_beneath(services: Services, pool: asyncpg.Pool[asyncpg.Record], size: int) -> None:
    """Add what a service has after long, while no service runs."""
    for name in services.names:
        await asyncio.to_thread(services.stop, name)
    progress.print(f"Filling the database to size {size} …", highlight=False)
    await fill(pool, size)
    await close_open_work(pool)
    for name in services.names:
        await asyncio.to_thread(services.start, name)


async def run(infrastructure: Infrastructure, events: int, *, size: int) -> list[Figures]:
    """All consumers of events, one after the other."""
    if size:
        await asyncio.to_thread(give_memory, infrastructure)
    receiver = Receiver()
    link = BrokerLink(infrastructure.rabbitmq_url, name="bench")
    database = Database(infrastructure.database_url, name="bench")
    await database.open()
    try:
        async with (
            receiver.listening() as webhook_url,
            asyncpg.create_pool(
                infrastructure.database_url, min_size=1, max_size=4, command_timeout=None
            ) as pool,
            open_operations(infrastructure.database_url, infrastructure.broker) as operations,
        ):
            services = await asyncio.to_thread(
                start_services,
                infrastructure,
                workers=1,
                environment={"AGENTCACHE_WEBHOOK_URL": webhook_url},
            )
            await make_history(services, pool, database, operations, Publisher(link), events)
            if size:
                await fill_beneath(services, pool, size)
            return [
                await measure(services, pool, operations, receiver, queue, compares_tables=not size)
                for queue in topology.event_queues()
            ]
    finally:
        await link.close()
        await database.close()


def table(measured: Sequence[Figures]) -> Table:
    """The figures for people, a row for each consumer."""
    headings = [
        "replay to",
        "events",
        "events/s",
        "delivered",
        *(f"{name}, CPU µs" for name in CPU_COLUMNS),
        "tables changed",
        "webhooks sent",
    ]
    return Table(
        "Replay of the whole log",
        headings,
        [
            (
                figures.consumer,
                f"{figures.events:,}",
                f"{figures.events_per_second:,.0f}",
                f"{figures.delivered:,}",
                *(f"{figures.cpu_us_per_event[name]:,}" for name in CPU_COLUMNS),
                f"{', '.join(figures.tables_changed) or 'none'} of {figures.tables}"
                if figures.tables
                else "",
                f"{figures.webhooks_sent}",
            )
            for figures in measured
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000, help="events of the history, for each consumer")
    parser.add_argument(
        "--size", type=int, default=0, help="fill the tables before the replays, as `make bench-scale` does"
    )
    add_output_options(parser)
    given: Any = parser.parse_args()
    with running_infrastructure() as infrastructure:
        measured = uvloop.run(run(infrastructure, given.events, size=given.size))
    show(given, [table(measured)], [asdict(figures) for figures in measured])
    if not all(figures.changed_nothing for figures in measured):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
