"""The spool under pressure: memory and disk stay within bounds, and uploads go on or fail cleanly."""

import asyncio
import os
import re
import resource

from tests.support.gateway import MEGABYTE, Backstage, Tenant, World, problem
from tests.support.infrastructure import ServiceStarter

BUDGET_BYTES = 20 * MEGABYTE


async def test_more_than_the_spool_holds_is_taken_in_turn(
    world: World, backstage: Backstage, start_service: ServiceStarter
) -> None:
    gateway = start_service(
        "storage-gateway", {"SPOOL_BUDGET_BYTES": str(BUDGET_BYTES), "JETTYSPEED_CHUNK_SIZE_MB": "6"}
    )
    tenant = (await world.tenant()).at(gateway.url)
    held: list[float] = []

    async def watch() -> None:
        ops = {"Authorization": f"Bearer {world.environment['JETTYTHUNDER_OPS_TOKEN']}"}
        while True:
            metrics = (await world.http.get(f"{gateway.url}/metrics", headers=ops)).text
            found = re.search(r"^jettythunder_spool_bytes (\S+)$", metrics, re.MULTILINE)
            assert found is not None
            held.append(float(found.group(1)))

    watching = asyncio.create_task(watch())
    answers = await asyncio.gather(*(tenant.upload(os.urandom(25 * MEGABYTE)) for _ in range(4)))
    watching.cancel()
    assert [answer.status_code for answer in answers] == [201] * 4
    assert 0 < max(held) <= BUDGET_BYTES
    await backstage.holds_exactly(tenant, *(answer.json()["asset"] for answer in answers))


async def test_a_full_disk_is_told_and_leaves_nothing(
    world: World, backstage: Backstage, start_service: ServiceStarter
) -> None:
    # A limit on the size of files stands in for a small disk, which only root could mount.
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * MEGABYTE, unlimited[1]))
    try:
        gateway = start_service("storage-gateway", wait=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    gateway.wait_until_ready()
    tenant: Tenant = (await world.tenant()).at(gateway.url)
    answer = await tenant.upload(os.urandom(5 * MEGABYTE))
    assert problem(answer) == (507, "spool_full")
    assert answer.json()["retryable"] is True
    await backstage.holds_exactly(tenant)
    await backstage.holds_exactly(tenant, await tenant.store(os.urandom(3 * MEGABYTE)))
