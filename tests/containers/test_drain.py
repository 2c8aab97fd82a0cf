"""Restart every container in turn under load: no upload fails, no event is lost, little is done twice."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator

import asyncpg
import httpx
import pytest
from tests.containers.accounting import account_for
from tests.containers.composed import Composed, composed
from tests.containers.load import CHUNK_BYTES, Load
from tests.support.waiting import eventually

from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher

pytestmark = [pytest.mark.containers, pytest.mark.timeout(1800)]

# Gateways and workers first and once more at the end: most of the load is theirs.
SERVICES = (
    "storage-gateway-1",
    "storage-gateway-2",
    "chunk-worker",
    "provisioning",
    "usage-meter",
    "operations",
)
USERS_AT_ONCE = 4
UPLOADS_BETWEEN = 6
RECOVERY_SECONDS = 120.0

VARIABLES = {"JETTYSPEED_CHUNK_SIZE_MB": str(CHUNK_BYTES // 1_000_000)}

_READ = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"


async def test_nothing_fails_and_nothing_is_lost_while_every_service_is_restarted() -> None:
    with composed(variables=VARIABLES) as project:
        print(f"\nup --wait: {await asyncio.to_thread(project.up):.1f} s")
        link = BrokerLink(project.environment["RABBITMQ_URL"], name="drain")
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
                )
                running = asyncio.create_task(load.run(users_at_once=USERS_AT_ONCE))
                await load.more_uploads(UPLOADS_BETWEEN)
                handed_back = await _restart_in_turn(project, load)
                load.stop()
                await running
                account = await account_for(project, load, pool)
                redelivered = await _redelivered(project)
                account.show(handed_back=dict(handed_back), redelivered=redelivered)
                account.assert_nothing_is_lost()
                assert account.aborted_uploads == 0
                assert redelivered == handed_back.total()
        finally:
            await link.close()


async def _restart_in_turn(project: Composed, load: Load) -> Counter[str]:
    """Stop and start one container after the other; how many messages each queue got back."""
    handed_back: Counter[str] = Counter()
    for service in SERVICES:
        for container in await asyncio.to_thread(project.names, service):
            seconds, code = await asyncio.to_thread(project.stop, container)
            log = await asyncio.to_thread(project.log, container)
            await asyncio.to_thread(project.start, container)
            await eventually(
                lambda: asyncio.to_thread(project.is_healthy, container),  # noqa: B023
                timeout_seconds=RECOVERY_SECONDS,
                poll_seconds=0.5,
            )
            back = list(_handed_back(log))
            handed_back.update(back)
            print(f"  {container}: stopped in {seconds:.1f} s, exit code {code}, handed back {len(back)}")
            assert code == 0
            await eventually(
                lambda: _balancer_has_both(project), timeout_seconds=RECOVERY_SECONDS, poll_seconds=0.5
            )
            await load.more_uploads(UPLOADS_BETWEEN)
    return handed_back


def _handed_back(log: str) -> Iterator[str]:
    """The queues of the messages that a service gave back."""
    for line in log.splitlines():
        if '"message handed back"' in line:
            yield json.loads(line)["queue"]


async def _metric(project: Composed, url: str, pattern: str) -> int:
    """The sum of a server's samples that match a pattern."""
    read = ("exec", "-T", "operations", "python", "-c", _READ, url)
    metrics = await asyncio.to_thread(project.compose, *read)
    return sum(int(float(value)) for value in re.findall(rf"^{pattern} (\S+)$", metrics, re.MULTILINE))


async def _redelivered(project: Composed) -> int:
    """How often the broker has delivered a message again, since it started."""
    samples = r"rabbitmq_global_messages_redelivered_total\{[^}]*\}"
    return await _metric(project, "http://rabbitmq:15692/metrics", samples)


async def _balancer_has_both(project: Composed) -> bool:
    """Whether both gateways get requests. One that is stopped before leaves none."""
    samples = r'haproxy_backend_active_servers\{proxy="gateways"\}'
    return await _metric(project, "http://balancer:8404/metrics", samples) == 2
