"""What must hold after chaos, as figures: every message and every byte is accounted for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from jettythunder.broker import topology
from jettythunder.broker.event_log import open_event_log
from jettythunder.settings import BrokerSettings, StorageSettings
from jettythunder.storage import Storage
from operations.assembly import open_operations
from operations.replays.replay import is_bound


@dataclass(frozen=True)
class MessageAccount:
    """One consumer's messages: published (in the log), processed (in its inbox), and dead letters.

    ``poison`` are dead letters of messages that nobody can process; ``odd`` are ids of messages that are not
    accounted for, or not in the log.
    """

    consumer: str
    published: int
    processed: int
    dead: int
    poison: int
    unaccounted: int
    processed_unlogged: int
    odd: tuple[str, ...]

    @property
    def is_settled(self) -> bool:
        return self.unaccounted == 0 and self.processed_unlogged == 0


@dataclass(frozen=True)
class ByteAccount:
    """All accounts' stored bytes by each of the four that know, and how many accounts differ in any."""

    accounts: int
    ledger_bytes: int
    counter_bytes: int
    asset_bytes: int
    bucket_bytes: int
    differing_accounts: int
    reservations: int
    reserved_bytes: int


async def count_messages(
    pool: asyncpg.Pool[asyncpg.Record], *, database_url: str, rabbitmq_url: str
) -> list[MessageAccount]:
    """Account for every message of the log, per consumer."""
    published: dict[str, set[UUID]] = defaultdict(set)
    async with open_event_log(rabbitmq_url) as log:
        async for logged in log.read():
            for queue in topology.event_queues():
                if logged.event is not None and is_bound(queue, logged):
                    published[queue.name].add(logged.event.id)
    async with open_operations(database_url, BrokerSettings(rabbitmq_url=rabbitmq_url)) as operations:
        dead = {
            queue.name: [letter.message_id async for letter in operations.dead_letters.letters(queue.name)]
            for queue in topology.event_queues()
        }
    figures = []
    for queue in topology.event_queues():
        rows = await pool.fetch("SELECT event_id FROM inbox WHERE consumer = $1", queue.name)
        processed = {row["event_id"] for row in rows}
        logged_ids = published[queue.name]
        letters = dead[queue.name]
        poison = [message_id for message_id in letters if message_id.startswith("poison")]
        dead_ids = {UUID(message_id) for message_id in letters if message_id not in poison}
        figures.append(
            MessageAccount(
                consumer=queue.name,
                published=len(logged_ids),
                processed=len(processed & logged_ids),
                dead=len((dead_ids & logged_ids) - processed),
                poison=len(poison),
                unaccounted=len(logged_ids - processed - dead_ids),
                processed_unlogged=len(processed - logged_ids),
                odd=tuple(map(str, (logged_ids - processed - dead_ids) | (processed - logged_ids)))[:10],
            )
        )
    return figures


async def count_bytes(pool: asyncpg.Pool[asyncpg.Record], environment: Mapping[str, str]) -> ByteAccount:
    """Compare ledger, counters, assets and the bucket's listing, account by account."""
    rows = await pool.fetch(
        """
        SELECT a.id, a.s3_prefix, u.storage_used_bytes AS counter,
            coalesce((SELECT sum(l.used_delta_bytes) FROM usage_ledger l
                      WHERE l.account_id = a.id AND l.resource = 'storage'), 0)::bigint AS ledger,
            coalesce((SELECT sum(x.size_bytes) FROM agentcache_assets x
                      WHERE x.account_id = a.id), 0)::bigint AS assets,
            u.storage_reserved_bytes + u.bandwidth_reserved_bytes AS reserved
        FROM agentcache_accounts a JOIN account_usage u ON u.account_id = a.id
        """
    )
    listed = await _bucket_bytes(environment)
    bucket = {row["id"]: listed.get(row["s3_prefix"], 0) for row in rows}
    differing = [
        row["id"]
        for row in rows
        if len({row["counter"], row["ledger"], row["assets"], bucket[row["id"]]}) > 1
    ]
    return ByteAccount(
        accounts=len(rows),
        ledger_bytes=sum(row["ledger"] for row in rows),
        counter_bytes=sum(row["counter"] for row in rows),
        asset_bytes=sum(row["assets"] for row in rows),
        bucket_bytes=sum(bucket.values()),
        differing_accounts=len(differing),
        reservations=await pool.fetchval("SELECT count(*) FROM usage_reservations"),
        reserved_bytes=sum(row["reserved"] for row in rows),
    )


async def _bucket_bytes(environment: Mapping[str, str]) -> dict[str, int]:
    """Bytes by account prefix, from the bucket's listing."""
    given = {k.lower(): v for k, v in environment.items() if k.startswith("LYVE_")}
    storage = Storage(StorageSettings.model_validate(given))
    await storage.open()
    sizes: dict[str, int] = defaultdict(int)
    try:
        for key, size_bytes in (await storage.list_sizes("")).items():
            sizes["/".join(key.split("/")[:2]) + "/"] += size_bytes
    finally:
        await storage.close()
    return sizes
