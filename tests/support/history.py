"""What events that come again must leave as it is, and when a consumer is done with them."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import asyncpg
import httpx
from prometheus_client.parser import text_string_to_metric_families

from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.event_log import open_event_log
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.topology import ConsumerQueue
from operations.replays.replay import is_bound

if TYPE_CHECKING:
    from tests.support.infrastructure import Services

# How messages travel, what operators did, and what a clock alone changes; every other table is business.
_NOT_BUSINESS = (
    "alembic_version",
    "chunks_under_way",
    "edges",
    "inbox",
    "ops_audit",
    "outbox",
    "outbox_quarantine",
    "rate_limits",
    "replays",
    "usage_rollup_queue",
)


async def checksums(pool: asyncpg.Pool[asyncpg.Record]) -> dict[str, str]:
    """One checksum per business table, over all its rows. That an hour is over by now is no change."""
    tables = await pool.fetch(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL ($1) ORDER BY 1",
        _NOT_BUSINESS,
    )
    rows = "coalesce(string_agg(row, E'\\n' ORDER BY row), '')"
    return {
        table: await pool.fetchval(
            f"SELECT md5({rows}) FROM (SELECT (to_jsonb(t) - 'closed_at')::text AS row FROM {table} t) AS r"  # noqa: S608
        )
        for (table,) in tables
    }


async def is_settled(pool: asyncpg.Pool[asyncpg.Record]) -> bool:
    """No event waits to be published, and no hour to be rolled up."""
    return not await pool.fetchval(
        "SELECT EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM usage_rollup_queue)"
    )


async def deliver_again(rabbitmq_url: str, queue: ConsumerQueue) -> int:
    """Put all events of the log that a consumer takes into its queue; their number."""
    link = BrokerLink(rabbitmq_url, name="history")
    publisher, count = Publisher(link), 0
    try:
        async with open_event_log(rabbitmq_url) as log:
            async for logged in log.read():
                if is_bound(queue, logged):
                    await publisher.publish(
                        logged.body,
                        exchange=queue.replay_exchange,
                        routing_key=logged.routing_key,
                        event_type=logged.routing_key,
                        message_id=logged.message_id,
                    )
                    count += 1
    finally:
        await link.close()
    return count


SETTLED = ("processed", "dead_lettered")


async def count_messages(services: Services, queue: str, outcomes: Collection[str] = SETTLED) -> int:
    """How many messages of a queue had such an outcome, as its service counts them: repeated ones too."""
    service = queue.partition(".")[0]
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:
        answer = await http.get(
            f"{services.urls[service]}/metrics",
            headers={"Authorization": f"Bearer {services.environment['JETTYTHUNDER_OPS_TOKEN']}"},
        )
    return sum(
        int(sample.value)
        for family in text_string_to_metric_families(answer.raise_for_status().text)
        for sample in family.samples
        if sample.name == "jettythunder_messages_total"
        and sample.labels["queue"] == queue
        and sample.labels["outcome"] in outcomes
    )
