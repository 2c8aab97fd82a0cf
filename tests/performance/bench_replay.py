"""Measures replay on running services: the whole log to each consumer, until its last event is passed over.

    python -m tests.performance.bench_replay --events 10000

A history is made first: users who signed up and changed tiers by event, and downloads of theirs. What the
replay must leave as it is, is compared: a checksum of every business table, before and after.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

import asyncpg
from rich.console import Console
from tests.support.history import checksums, count_messages, is_settled
from tests.support.infrastructure import Infrastructure, Services, running_infrastructure, start_services
from tests.support.waiting import eventually

from jettythunder import outbox, topology
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher
from jettythunder.contracts.agentcache import UserSignedUpV1, UserTierChangedV1
from jettythunder.contracts.assets import AssetDownloadedV1
from jettythunder.contracts.envelope import Payload
from jettythunder.event_log import EventFilter
from jettythunder.operations import Operations, open_operations

SOURCE = "/bench"
USERS = 200
AT_ONCE = 500
HISTORY_SECONDS = 300
# Webhooks are no row of ours: their effect is a call to AgentCache.
CONSUMERS = (topology.PROVISIONING_EVENTS, topology.USAGE_METER_EVENTS)

progress = Console(stderr=True)


@dataclass(frozen=True)
class Figures:
    """One consumer's replay. The rate is that of all of it: read, delivered, passed over by the consumer."""

    consumer: str
    events: int
    events_per_second: float
    delivered_per_second: float
    tables: int
    tables_changed: list[str]


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


async def make_history(
    services: Services, pool: asyncpg.Pool[asyncpg.Record], publisher: Publisher, events: int
) -> None:
    """About as many events for each consumer, all of them processed."""
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
        downloads = (
            AssetDownloadedV1(
                account_id=account_ids[number % USERS],
                asset_id=uuid4(),
                reservation_id=uuid4(),
                size_bytes=1_000,
            )
            for number in range(begin, min(begin + AT_ONCE, events))
        )
        async with pool.acquire() as connection, connection.transaction():
            await outbox.write(connection, *downloads, source=SOURCE)
    wanted = {
        topology.PROVISIONING_EVENTS.name: len(signups) + len(changes),
        topology.USAGE_METER_EVENTS.name: events + USERS,
    }

    async def all_processed() -> bool:
        done = {name: await count_messages(services, name) for name in wanted}
        progress.print(f"  history: {done}", highlight=False)
        return all(done[name] >= wanted[name] for name in wanted) and await is_settled(pool)

    await eventually(all_processed, timeout_seconds=HISTORY_SECONDS, poll_seconds=1)


async def measure(
    services: Services,
    pool: asyncpg.Pool[asyncpg.Record],
    operations: Operations,
    queue: topology.ConsumerQueue,
) -> Figures:
    """Replay the whole log to one consumer."""
    before, passed_before = await checksums(pool), await count_messages(services, queue.name)
    replays = operations.replays
    begun = await replays.begin(queue.name, EventFilter(), who="bench", rate=None)
    began = time.perf_counter()
    done = await replays.run(begun)
    delivered_at = time.perf_counter()
    wanted = passed_before + done.replayed_count

    async def all_passed() -> bool:
        return await count_messages(services, queue.name) >= wanted

    await eventually(all_passed, timeout_seconds=HISTORY_SECONDS, poll_seconds=0.1)
    seconds = time.perf_counter() - began
    await eventually(lambda: is_settled(pool), timeout_seconds=HISTORY_SECONDS)
    after = await checksums(pool)
    return Figures(
        consumer=queue.name,
        events=done.replayed_count,
        events_per_second=round(done.replayed_count / seconds),
        delivered_per_second=round(done.replayed_count / (delivered_at - began)),
        tables=len(before),
        tables_changed=[table for table in before if before[table] != after[table]],
    )


async def run(infrastructure: Infrastructure, services: Services, events: int) -> list[Figures]:
    """All consumers, one after the other."""
    link = BrokerLink(infrastructure.rabbitmq_url, name="bench")
    try:
        async with (
            asyncpg.create_pool(infrastructure.database_url, min_size=1, max_size=4) as pool,
            open_operations(pool, infrastructure.rabbitmq_url) as operations,
        ):
            await make_history(services, pool, Publisher(link), events)
            return [await measure(services, pool, operations, queue) for queue in CONSUMERS]
    finally:
        await link.close()


def line(figures: Figures) -> str:
    """One consumer's figures for a person."""
    changed = ", ".join(figures.tables_changed) or "none"
    return (
        f"replay to {figures.consumer}: {figures.events:,} events, {figures.events_per_second:,.0f} events/s "
        f"(delivered at {figures.delivered_per_second:,.0f}/s); of {figures.tables} tables changed: {changed}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000, help="events of the history, for each consumer")
    parser.add_argument("--json", action="store_true", help="print the figures for programs")
    given: Any = parser.parse_args()
    with running_infrastructure() as infrastructure:
        services = start_services(infrastructure, workers=1)
        measured = asyncio.run(run(infrastructure, services, given.events))
    if given.json:
        print(json.dumps([asdict(figures) for figures in measured], indent=2))
    else:
        print("\n".join(map(line, measured)))
    if any(figures.tables_changed for figures in measured):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
