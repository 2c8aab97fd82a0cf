"""Kill -9 everything, in random order, while load runs; then account for every message and every byte."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest
from tests.chaos.accounting import account_for_everything
from tests.chaos.disturbances import DISTURBANCES, Disturbance
from tests.chaos.load import ENVIRONMENT, Load
from tests.support.infrastructure import (
    IdleServers,
    Infrastructure,
    RoleName,
    RunningService,
    Services,
    ServiceStarter,
    start_services,
)
from tests.support.waiting import eventually

from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher
from jettythunder_dev.packages import Package, install
from jettythunder_dev.stack import is_ready

SERVERS: tuple[RoleName, ...] = ("rabbitmq", "postgres", "s3")
USERS_AT_ONCE = 4
ROUNDS = 10
FAILURES_WITHIN = 60
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
UPLOADS_BETWEEN = 6
# A server that was killed may take a minute to be itself again on a busy machine.
RECOVERY_SECONDS = 180.0
MANAGE_SECONDS = 1.0


@pytest.fixture
def killable(idle_servers: IdleServers) -> Iterator[tuple[Infrastructure, Services]]:
    """A stack of this test's own."""
    with idle_servers.borrowed() as infrastructure:
        yield infrastructure, start_services(infrastructure, workers=2, environment=ENVIRONMENT)


@pytest.mark.timeout(900)
async def test_nothing_is_lost_when_each_is_killed_once(
    killable: tuple[Infrastructure, Services], capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        await _survive(*killable, rounds=1)


@pytest.mark.chaos
@pytest.mark.timeout(3600)
async def test_nothing_is_lost_when_all_are_killed_again_and_again(
    killable: tuple[Infrastructure, Services],
    slow_clock: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    infrastructure, services = killable
    starter = ServiceStarter(infrastructure, tmp_path)
    try:
        second = SecondGateway(starter, {**ENVIRONMENT, **slow_clock})
        await asyncio.to_thread(second.start)
        with capsys.disabled():
            await _survive(infrastructure, services, rounds=ROUNDS, second=second)
    finally:
        starter.end()


@pytest.fixture(scope="session")
def slow_clock() -> dict[str, str]:
    """What makes the wall clock of a process go two minutes behind."""
    if not FAKETIME.exists():
        install([Package("libfaketime", apt="faketime", brew="libfaketime")], print)
    return {"LD_PRELOAD": str(FAKETIME), "FAKETIME": "-120s", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


class SecondGateway:
    """A gateway beside the stack's own, whose clock goes wrong."""

    name = "storage-gateway-2"

    def __init__(self, starter: ServiceStarter, environment: dict[str, str]) -> None:
        self._starter = starter
        self._environment = environment
        self.running: RunningService | None = None

    def start(self) -> RunningService:
        self.running = self._starter("storage-gateway", self._environment, wait=False)
        return self.running

    def kill_and_restart(self) -> None:
        assert self.running is not None
        self.running.kill()
        self.start()


async def _survive(
    infrastructure: Infrastructure, services: Services, *, rounds: int, second: SecondGateway | None = None
) -> None:
    """Run the load through all of it, print what became of everything, and have nothing be lost."""
    began = time.monotonic()
    link = BrokerLink(infrastructure.rabbitmq_url, name="chaos")
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=0)
    try:
        async with (
            httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as http,
            asyncpg.create_pool(infrastructure.database_url, min_size=0, max_size=4) as pool,
        ):
            load = Load(
                http=http,
                publisher=Publisher(link),
                rabbitmq_url=infrastructure.rabbitmq_url,
                base_urls=_gateways(services, second),
                webhook_secret=services.environment["AGENTCACHE_WEBHOOK_SECRET"],
            )
            running = asyncio.create_task(load.run(users_at_once=USERS_AT_ONCE))
            await eventually(lambda: load.uploads > 0, timeout_seconds=RECOVERY_SECONDS)
            kills = await _kill_in_random_order(infrastructure, services, load, rounds, second)
            for name, disturbance in DISTURBANCES.items() if second else ():
                await _disturb(infrastructure, load, disturbance)
                kills[name] += 1
            load.stop()
            await running
            killed_at = time.monotonic()
            print(f"\nchaos of {killed_at - began:.0f} s:")
            killed = kills.total() - sum(kills[name] for name in DISTURBANCES)
            print(f"  kills: { ({'all': killed, **kills}) }")
            await account_for_everything(infrastructure, services, load, pool)
    finally:
        await link.close()


async def _kill_in_random_order(
    infrastructure: Infrastructure,
    services: Services,
    load: Load,
    rounds: int,
    second: SecondGateway | None,
) -> Counter[str]:
    """Kill and restart each server and service once a round, two at once, with uploads in between.

    A service is not waited for: the next kill may find it still starting.
    """
    kills: Counter[str] = Counter()

    def kill_and_restart(name: str) -> None:
        if second is not None and name == second.name:
            second.kill_and_restart()
        else:
            _kill_and_restart(infrastructure, services, name)

    for _ in range(rounds):
        order = [*SERVERS, *services.names, *([second.name] if second else [])]
        random.shuffle(order)
        for pair in (order[start : start + 2] for start in range(0, len(order), 2)):
            enough = load.uploads + UPLOADS_BETWEEN
            await asyncio.gather(*(asyncio.to_thread(kill_and_restart, name) for name in pair))
            load.base_urls[:] = _gateways(services, second)
            kills.update(pair)
            async with _managed(services, load, second):
                await eventually(lambda: _reached(load, enough), timeout_seconds=RECOVERY_SECONDS)  # noqa: B023
    async with _managed(services, load, second):
        for url in {*services.urls.values(), *load.base_urls}:
            await eventually(lambda: asyncio.to_thread(is_ready, url), timeout_seconds=RECOVERY_SECONDS)  # noqa: B023
    return kills


@contextlib.asynccontextmanager
async def _managed(services: Services, load: Load, second: SecondGateway | None) -> AsyncIterator[None]:
    """Start services again that end, as process managers do.

    One that starts while a server can't be reached waits for it for half a minute, and ends.
    """

    def start_what_has_ended() -> None:
        for info in services.stack.supervisor.processes():
            if info.name in services.names and info.pid is None:
                services.stack.supervisor.start_program(info.name)
        if second is not None and second.running is not None and second.running.process.poll() is not None:
            second.start()
            load.base_urls[:] = _gateways(services, second)

    async def manage() -> None:
        while True:
            await asyncio.to_thread(start_what_has_ended)
            await asyncio.sleep(MANAGE_SECONDS)

    managing = asyncio.create_task(manage())
    try:
        yield
    finally:
        managing.cancel()
        await asyncio.wait([managing])


async def _disturb(infrastructure: Infrastructure, load: Load, disturbance: Disturbance) -> None:
    """Have a server refuse for a while, longer than a message is retried, and see uploads again after it."""
    refused = load.failures + FAILURES_WITHIN
    async with disturbance(infrastructure):
        await eventually(lambda: load.failures >= refused, timeout_seconds=RECOVERY_SECONDS)
    enough = load.uploads + UPLOADS_BETWEEN
    await eventually(lambda: _reached(load, enough), timeout_seconds=RECOVERY_SECONDS)


def _gateways(services: Services, second: SecondGateway | None) -> list[str]:
    own = [services.base_url]
    return [*own, second.running.url] if second is not None and second.running is not None else own


def _reached(load: Load, uploads: int) -> bool:
    """Whether so many uploads were acknowledged; says what the load does meanwhile where they are not."""
    assert load.uploads >= uploads, (
        f"{load.uploads} of {uploads} uploads; counted {dict(load.counts)}; in flight {load.in_flight}"
    )
    return True


def _kill_and_restart(infrastructure: Infrastructure, services: Services, name: str) -> None:
    if name in SERVERS:
        infrastructure.kill(name)
        infrastructure.start(name)
    else:
        # One that has just ended by itself is started all the same.
        if services.stack.supervisor.process(name).pid is not None:
            services.kill(name)
        services.stack.supervisor.start_program(name)
