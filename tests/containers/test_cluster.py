"""Kill a node of three of RabbitMQ under load, and bring it back: no upload fails, no event is lost."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
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
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher

pytestmark = [pytest.mark.containers, pytest.mark.timeout(900)]

NODES = {
    "rabbit@rabbitmq-1": ("rabbitmq", "RABBITMQ_PORT"),
    "rabbit@rabbitmq-2": ("rabbitmq-2", "RABBITMQ_2_PORT"),
    "rabbit@rabbitmq-3": ("rabbitmq-3", "RABBITMQ_3_PORT"),
}
# Those that the load needs: a leader of one of them is killed.
QUEUES = ("chunk-worker.commands", "provisioning.agentcache-events", "usage-meter.events")
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
        rows = json.loads(
            self._list(node, "list_queues", "name", "leader", "members", "online", "--formatter", "json")
        )
        return {row["name"]: row for row in rows if row.get("members")}

    def consumers(self, node: str) -> Counter[tuple[str, str]]:
        """Each queue's consumers as the node sees them, by the queue and the node they are connected to.

        A queue keeps the consumers of a node that is gone until that node comes back.
        """
        own = {queue.name for queue in topology.consumer_queues()}
        # As JSON a process does not show its node.
        rows = self._list(node, "--no-table-headers", "list_consumers", "queue_name", "channel_pid")
        found = re.findall(r"^(\S+)\t<(rabbit@[^.]+)\.", rows, re.MULTILINE)
        return Counter((queue, on) for queue, on in found if queue in own)

    def _list(self, node: str, *command: str) -> str:
        return self.project.compose("exec", "-T", NODES[node][0], "rabbitmqctl", "--quiet", *command)


async def test_nothing_is_lost_while_a_node_of_three_is_killed_and_comes_back() -> None:
    with composed(files=("compose.yaml", "cluster.yaml"), variables=VARIABLES) as project:
        print(f"\nup --wait: {await asyncio.to_thread(project.up):.1f} s")
        cluster = Cluster(project)
        queues = await asyncio.to_thread(cluster.queues, "rabbit@rabbitmq-1")
        assert {name: len(row["online"]) for name, row in queues.items()} == dict.fromkeys(queues, 3)
        assert topology.EVENT_LOG in queues
        consumers = await asyncio.to_thread(cluster.consumers, "rabbit@rabbitmq-1")
        victim = max(
            {queues[name]["leader"] for name in QUEUES},
            key=lambda node: sum(count for (_, on), count in consumers.items() if on == node),
        )
        survivor = next(node for node in NODES if node != victim)
        led = [name for name, row in queues.items() if row["leader"] == victim]
        print(f"  {victim} leads {len(led)} of {len(queues)}: {', '.join(led)}")
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
                await _lose(cluster, victim, survivor, load, pool)
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
    cluster: Cluster, victim: str, survivor: str, load: Load, pool: asyncpg.Pool[asyncpg.Record]
) -> None:
    """Kill the node, and wait until everybody works on the others."""
    consumers = await asyncio.to_thread(cluster.consumers, survivor)
    kept = _elsewhere(consumers, victim)
    wanted = _elsewhere(consumers, "")
    assert kept != wanted, f"{victim} has no consumer to lose: {consumers}"
    container = await asyncio.to_thread(cluster.container, victim)
    await asyncio.to_thread(cluster.project.kill, container)
    killed = time.monotonic()
    announced = set(load.announced_users)

    async def consumers_are_back() -> float:
        now = _elsewhere(await asyncio.to_thread(cluster.consumers, survivor), victim)
        assert now >= wanted, now
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
    print(f"  {victim} killed, where {(wanted - kept).total()} of {wanted.total()} consumers were")
    print(f"  all of them on the other nodes after {back:.1f} s")
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


def _elsewhere(consumers: Counter[tuple[str, str]], node: str) -> Counter[str]:
    """How many consumers each queue has, without those that are connected to the node."""
    counts: Counter[str] = Counter()
    for (queue, on), count in consumers.items():
        counts[queue] += count if on != node else 0
    return counts
