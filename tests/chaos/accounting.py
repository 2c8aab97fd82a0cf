"""What must hold after chaos, as figures: every message and every byte is accounted for."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import asyncpg
from tests.chaos.load import Load
from tests.support.commands import jettythunder
from tests.support.infrastructure import Infrastructure, Services
from tests.support.s3 import open_multiparts, opened_s3
from tests.support.waiting import eventually

from jettythunder.broker import topology
from jettythunder.broker.event_log import open_event_log
from jettythunder.settings import BrokerSettings, StorageSettings
from jettythunder.storage import Storage
from operations.assembly import open_operations
from operations.replays.replay import is_bound

SETTLE_SECONDS = 240.0


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


async def account_for_everything(
    infrastructure: Infrastructure, services: Services, load: Load, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    """Wait until nothing is left to do, print what became of everything, and have nothing be lost."""
    checked, wrong = await load.verify(at_once=4)
    await eventually(lambda: is_quiet(pool, infrastructure), timeout_seconds=SETTLE_SECONDS, poll_seconds=0.5)
    messages = await count_messages(
        pool, database_url=infrastructure.database_url, rabbitmq_url=infrastructure.rabbitmq_url
    )
    amounts = await count_bytes(pool, infrastructure.environment)
    async with opened_s3(infrastructure.s3) as s3:
        multiparts = await open_multiparts(s3, infrastructure.s3.bucket)
    users = {account.user: account.account_id for account in load.accounts}
    made = await pool.fetch(
        "SELECT agentcache_user_ref AS user, array_agg(id::text) AS ids FROM agentcache_accounts GROUP BY 1"
    )
    ids_by_user = {row["user"]: row["ids"] for row in made}
    odd_signups = [user for user, account_id in users.items() if ids_by_user.get(user) != [account_id]]
    odd_signups += [user for user in load.announced_users if len(ids_by_user.get(user, [])) != 1]
    figures = {
        "load": dict(load.counts),
        "poisonous messages": {"confirmed": load.poisoned, "sent": load.perhaps_poisoned},
        "assets read back": checked,
        "messages": [asdict(account) for account in messages],
        "bytes": asdict(amounts),
        "multipart uploads left": len(multiparts),
        "reconciled": await reconcile(services),
    }
    for name, value in figures.items():
        print(f"  {name}: {value}")
    assert checked > 0, figures
    assert wrong == [], figures
    assert load.damaged == [], figures
    assert odd_signups == [], figures
    assert all(account.is_settled for account in messages), figures
    assert sum(account.dead for account in messages) == 0, figures
    assert load.poisoned <= sum(account.poison for account in messages) <= load.perhaps_poisoned, figures
    assert amounts.differing_accounts == 0, figures
    assert multiparts == [], figures
    assert amounts.reservations == 0, figures
    assert amounts.reserved_bytes == 0, figures
    assert figures["reconciled"] == {"accounts": amounts.accounts, "drifting": []}, figures


async def reconcile(services: Services) -> dict[str, Any]:
    """What ops are told by `jettythunder usage reconcile`: how many accounts, and which of them drift."""
    _, told = await jettythunder(
        {**services.environment, "JETTYTHUNDER_USAGE_METER_URL": services.urls["usage-meter"]},
        *("usage", "reconcile", "--all", "--json"),
    )
    looked_at = json.loads(told)
    return {"accounts": len(looked_at), "drifting": [line for line in looked_at if not line["is_clean"]]}


async def is_quiet(pool: asyncpg.Pool[asyncpg.Record], infrastructure: Infrastructure) -> bool:
    """Nothing is left to do: no upload open, no event unpublished or unprocessed, nothing to delete."""
    left = await pool.fetchrow(
        """
        SELECT (SELECT count(*) FROM outbox) AS outbox,
            (SELECT count(*) FROM uploads WHERE status IN ('created', 'receiving', 'completing')) AS uploads,
            (SELECT count(*) FROM object_deletions) AS deletions,
            (SELECT count(*) FROM uploads WHERE s3_upload_id IS NOT NULL) AS multiparts,
            (SELECT count(*) FROM usage_reservations) AS reservations
        """
    )
    assert left is not None
    assert not any(left.values()), f"left: {dict(left)}"
    messages = await count_messages(
        pool, database_url=infrastructure.database_url, rabbitmq_url=infrastructure.rabbitmq_url
    )
    assert all(account.unaccounted == 0 for account in messages), messages
    return True


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
