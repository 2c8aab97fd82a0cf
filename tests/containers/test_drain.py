"""Restart every container in turn under load: no upload fails, no event is lost, little is done twice."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

import asyncpg
import httpx
import pytest
from tests.chaos.accounting import count_bytes, count_messages
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
SETTLE_SECONDS = 240.0

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
                await _more_uploads(load, UPLOADS_BETWEEN)
                handed_back = await _restart_in_turn(project, load)
                load.stop()
                await running
                await _account(project, load, pool, handed_back)
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
            await _more_uploads(load, UPLOADS_BETWEEN)
    return handed_back


def _handed_back(log: str) -> Iterator[str]:
    """The queues of the messages that a service gave back."""
    for line in log.splitlines():
        if '"message handed back"' in line:
            yield json.loads(line)["queue"]


async def _more_uploads(load: Load, count: int) -> None:
    enough = load.uploads + count
    await eventually(lambda: load.uploads >= enough, timeout_seconds=RECOVERY_SECONDS)


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


async def _account(
    project: Composed, load: Load, pool: asyncpg.Pool[asyncpg.Record], handed_back: Counter[str]
) -> None:
    database_url, rabbitmq_url = (project.environment[name] for name in ("DATABASE_URL", "RABBITMQ_URL"))

    async def is_quiet() -> bool:
        left = await pool.fetchrow(
            "SELECT (SELECT count(*) FROM outbox) AS outbox,"
            " (SELECT count(*) FROM uploads WHERE upload_is_open(status)) AS uploads,"
            " (SELECT count(*) FROM usage_reservations) AS reservations"
        )
        assert left is not None
        assert not any(left.values()), f"left: {dict(left)}"
        messages = await count_messages(pool, database_url=database_url, rabbitmq_url=rabbitmq_url)
        assert all(account.unaccounted == 0 for account in messages), messages
        return True

    await eventually(is_quiet, timeout_seconds=SETTLE_SECONDS, poll_seconds=1)
    read_back = await load.verify()
    await eventually(is_quiet, timeout_seconds=SETTLE_SECONDS, poll_seconds=1)
    messages = await count_messages(pool, database_url=database_url, rabbitmq_url=rabbitmq_url)
    amounts = await count_bytes(pool, project.environment)
    made = await pool.fetch("SELECT agentcache_user_ref AS user FROM agentcache_accounts")
    aborted = await pool.fetchval("SELECT count(*) FROM uploads WHERE status IN ('aborted', 'expired')")
    redelivered = await _redelivered(project)
    figures = {
        "load": dict(load.counts),
        "failures": load.failures,
        "assets read back": read_back,
        "damaged": load.damaged,
        "uploads that were aborted": aborted,
        "messages": [asdict(account) for account in messages],
        "handed back": dict(handed_back),
        "redelivered": redelivered,
        "bytes": asdict(amounts),
    }
    for name, value in figures.items():
        print(f"  {name}: {value}")
    assert load.failures == [], figures
    assert load.damaged == [], figures
    assert aborted == 0, figures
    assert load.announced_users <= {row["user"] for row in made}, figures
    assert all(account.is_settled and account.dead == 0 for account in messages), figures
    assert redelivered == handed_back.total(), figures
    assert amounts.differing_accounts == 0, figures
    assert amounts.reservations == 0, figures
