"""A worker that dies with chunks in its hands: another takes them."""

import asyncio
import os
import signal

from tests.support.gateway import MEGABYTE, Backstage, World
from tests.support.infrastructure import Services
from tests.support.waiting import eventually


async def test_the_chunks_of_a_killed_worker_are_stored_by_another(
    world: World, backstage: Backstage, services: Services
) -> None:
    tenant = await world.tenant("business")
    # Frozen first, so that it is certain to hold chunks when it dies.
    os.kill(services.pid("chunk-worker-1"), signal.SIGSTOP)
    try:
        upload = asyncio.create_task(tenant.upload(os.urandom(100 * MEGABYTE)))

        async def others_are_done() -> bool:
            return len(await stored_by(backstage, tenant.account_id)) >= 2

        await eventually(others_are_done, timeout_seconds=60)
        services.kill("chunk-worker-1")
        answer = await upload
    finally:
        if services.stack.supervisor.process("chunk-worker-1").pid is None:
            services.start("chunk-worker-1")
        else:
            os.kill(services.pid("chunk-worker-1"), signal.SIGCONT)
    assert answer.status_code == 201, answer.text
    assert set(await stored_by(backstage, tenant.account_id)) == {"edge-2"}
    await backstage.holds_exactly(tenant, answer.json()["asset"])


async def stored_by(backstage: Backstage, account_id: object) -> list[str]:
    rows = await backstage.pool.fetch(
        "SELECT c.edge FROM upload_chunks c JOIN uploads u ON u.id = c.upload_id WHERE u.account_id = $1",
        account_id,
    )
    return [row["edge"] for row in rows]
