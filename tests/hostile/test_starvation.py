"""No client starves another: what slow, silent and greedy ones can do to a well-behaved account."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from tests.hostile.scenario import (
    SETTLE_SECONDS,
    Measured,
    Memory,
    attack_on,
    calls_of,
    print_table,
    under,
)
from tests.support.gateway import MEGABYTE, World
from tests.support.infrastructure import Services
from tests.support.waiting import eventually

LONGEST_WAIT_SECONDS = 15
MEMORY_BYTES = 250 * MEGABYTE
WORST_RATIO = 3.0


@contextlib.asynccontextmanager
async def watched(services: Services) -> AsyncIterator[Memory]:
    """The gateway's memory while inside."""
    memory = Memory(services.pid("storage-gateway"))
    watching = asyncio.create_task(memory.watch())
    try:
        yield memory
    finally:
        watching.cancel()


async def test_nobody_waits_for_hostile_clients(world: World, services: Services) -> None:
    tenant = await world.tenant()
    attack = await attack_on(world, share=0.1)
    async with watched(services) as memory, under(attack):

        async def it_has_begun() -> bool:
            return await world.metric("jettythunder_http_connections") > attack.clients / 2

        await eventually(it_has_begun, timeout_seconds=60)
        attacked: Measured = await calls_of(tenant, seconds=10)
    assert attacked.longest() < LONGEST_WAIT_SECONDS
    assert memory.peak_bytes < MEMORY_BYTES


@pytest.mark.hostile
async def test_latency_and_memory_stay_bounded_under_attack(
    world: World, services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    tenant = await world.tenant()
    await calls_of(tenant, seconds=5)
    idle = await calls_of(tenant, seconds=40)
    attack = await attack_on(world, share=1)
    async with watched(services) as memory, under(attack) as attempts:
        await asyncio.sleep(SETTLE_SECONDS)
        attacked = await calls_of(tenant, seconds=60)
    with capsys.disabled():
        print_table(idle, attacked, memory, attempts)
    for kind in idle.seconds:
        assert attacked.p99(kind) < WORST_RATIO * idle.p99(kind), kind
    assert memory.peak_bytes < MEMORY_BYTES
