"""Kill a node of three of RabbitMQ under load, and bring it back: no upload fails, no event is lost."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx
import pytest
from tests.containers.accounting import account_for
from tests.containers.composed import Composed, composed
from tests.containers.load import CHUNK_BYTES, NO_SERVER, Load
from tests.support.waiting import eventually

from jettythunder.broker import topology
from jettythunder.broker.connection import CONNECTION_ERRORS, BrokerLink
from jettythunder.broker.publisher import Publisher
from jettythunder.errors import BrokerUnavailable

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

NODES = {
    "rabbit@rabbitmq-1": ("rabbitmq", "RABBITMQ_PORT"),
    "rabbit@rabbitmq-2": ("rabbitmq-2", "RABBITMQ_2_PORT"),
    "rabbit@rabbitmq-3": ("rabbitmq-3", "RABBITMQ_3_PORT"),
}
# Every upload of several chunks needs this queue.
QUEUE = "chunk-worker.commands"
USERS_AT_ONCE = 4
UPLOADS_BETWEEN = 12
RECOVERY_SECONDS = 120.0
VARIABLES = {"JETTYSPEED_CHUNK_SIZE_MB": str(CHUNK_BYTES // 1_000_000)}
# What a caller is told to repeat while the broker can't be reached, or does not confirm.
REPEATABLE = frozenset({"broker_unavailable", "chunk_upload_failed", "provisioning_unavailable", NO_SERVER})


@dataclass(frozen=True)
class Cluster:
    """The nodes of a project's broker."""

    project: Composed

    def container(self, node: str) -> str:
        return self.project.names(NODES[node][0])[0]

    def url(self, node: str) -> str:
        """The node, as it is reached from this machine."""
        first, own = (self.project.variables[name] for name in ("RABBITMQ_PORT", NODES[node][1]))
        return self.project.environment["RABBITMQ_URL"].replace(f":{first}/", f":{own}/")

    def queues(self, node: str) -> dict[str, dict[str, Any]]:
        """The queues as the node sees them: their leader, and which of their members are online."""
        listed = ("rabbitmqctl", "--quiet", "list_queues", "name", "leader", "members", "online")
        rows = json.loads(self.project.compose("exec", "-T", NODES[node][0], *listed, "--formatter", "json"))
        return {row["name"]: row for row in rows if row.get("members")}


async def test_nothing_is_lost_while_a_node_of_three_is_killed_and_comes_back() -> None:
    with composed(files=("compose.yaml", "cluster.yaml"), variables=VARIABLES) as project:
        print(f"\nup --wait: {await asyncio.to_thread(project.up):.1f} s")
        cluster = Cluster(project)
        queues = await asyncio.to_thread(cluster.queues, "rabbit@rabbitmq-1")
        assert {name: len(row["online"]) for name, row in queues.items()} == dict.fromkeys(queues, 3)
        assert topology.EVENT_LOG in queues
        victim = queues[QUEUE]["leader"]
        survivor = next(node for node in NODES if node != victim)
        led = sum(row["leader"] == victim for row in queues.values())
        print(f"  {victim} leads {QUEUE} and {led - 1} of {len(queues) - 1} others")
        link = BrokerLink(cluster.url(survivor), name="cluster-test")
        try:
            async with (
                httpx.AsyncClient(timeout=120, trust_env=False) as http,
                asyncpg.create_pool(project.environment["DATABASE_URL"], min_size=0, max_size=4) as pool,
            ):
                load = Load(
                    http=http,
                    publisher=Publisher(link),
                    base_url=project.base_url,
                    webhook_secret=project.environment["AGENTCACHE_WEBHOOK_SECRET"],
                    repeatable=REPEATABLE,
                )
                running = asyncio.create_task(load.run(users_at_once=USERS_AT_ONCE))
                await load.more_uploads(UPLOADS_BETWEEN)
                await _lose(cluster, victim, load, pool, link)
                await _bring_back(cluster, victim)
                await load.more_uploads(UPLOADS_BETWEEN)
                load.stop()
                await running
                account = await account_for(project, load, pool)
                account.show()
                account.assert_nothing_is_lost()
        finally:
            await link.close()


async def _lose(
    cluster: Cluster, victim: str, load: Load, pool: asyncpg.Pool[asyncpg.Record], link: BrokerLink
) -> None:
    """Kill the node, and wait until everybody works on the others."""
    consumers = await _consumers(link)
    container = await asyncio.to_thread(cluster.container, victim)
    await asyncio.to_thread(cluster.project.kill, container)
    killed = time.monotonic()
    announced = set(load.announced_users)

    async def consumers_are_back() -> float:
        now = await _consumers(link)
        assert all(now[name] >= count for name, count in consumers.items()), now
        return time.monotonic() - killed

    async def new_event_is_processed() -> float:
        new = list(load.announced_users - announced)
        assert await pool.fetchval(
            "SELECT EXISTS (SELECT FROM agentcache_accounts WHERE agentcache_user_ref = ANY($1))", new
        )
        return time.monotonic() - killed

    async def uploads_go_on() -> float:
        await load.more_uploads(UPLOADS_BETWEEN)
        return time.monotonic() - killed

    back, processed, uploaded = await asyncio.gather(
        eventually(consumers_are_back, timeout_seconds=RECOVERY_SECONDS),
        eventually(new_event_is_processed, timeout_seconds=RECOVERY_SECONDS),
        uploads_go_on(),
    )
    print(f"  {victim} killed: all {sum(consumers.values())} consumers back after {back:.1f} s")
    print(f"  first new event processed after {processed:.1f} s")
    print(f"  {UPLOADS_BETWEEN} new uploads acknowledged after {uploaded:.1f} s")


async def _bring_back(cluster: Cluster, victim: str) -> None:
    """Start the node, and wait until all replicas are online."""
    container = await asyncio.to_thread(cluster.container, victim)
    await asyncio.to_thread(cluster.project.start, container)
    began = time.monotonic()

    def all_replicas_are_online() -> bool:
        assert cluster.project.is_healthy(container)
        return all(len(row["online"]) == 3 for row in cluster.queues(victim).values())

    await eventually(
        lambda: asyncio.to_thread(all_replicas_are_online),
        timeout_seconds=RECOVERY_SECONDS,
        poll_seconds=0.5,
    )
    print(f"  {victim} started: all replicas online after {time.monotonic() - began:.1f} s")


async def _consumers(link: BrokerLink) -> dict[str, int]:
    """How many consumers each queue has; one whose leader is gone has none."""
    counts: dict[str, int] = {}
    for queue in topology.consumer_queues():
        try:
            async with asyncio.timeout(5):
                channel = await link.channel()
                declared = await channel.declare_queue(queue.name, passive=True)
        except (*CONNECTION_ERRORS, BrokerUnavailable) as error:
            raise AssertionError(f"{queue.name} does not answer: {error!r}") from error
        counts[queue.name] = int(declared.declaration_result.consumer_count or 0)
    return counts
