"""The broker dies in the middle of an upload and comes back."""

import asyncio
import os
from collections.abc import AsyncIterator

import pytest_asyncio
from tests.support.gateway import MEGABYTE, World, opened_world
from tests.support.infrastructure import Infrastructure, Kind, start_services
from tests.support.waiting import eventually


@pytest_asyncio.fixture(scope="module")
async def own_world(own_infrastructure: Infrastructure) -> AsyncIterator[World]:
    kinds: tuple[Kind, ...] = ("storage-gateway", "provisioning", "usage-meter", "chunk-worker")
    async with opened_world(own_infrastructure, start_services(own_infrastructure, kinds=kinds)) as opened:
        yield opened


async def test_an_upload_outlives_the_broker_or_fails_leaving_nothing(
    own_world: World, own_infrastructure: Infrastructure
) -> None:
    backstage = own_world.backstage
    tenant = await own_world.tenant("business")
    upload = asyncio.create_task(tenant.upload(os.urandom(200 * MEGABYTE)))

    async def under_way() -> bool:
        return bool(
            await backstage.pool.fetchval(
                "SELECT count(*) >= 3 FROM upload_chunks c JOIN uploads u ON u.id = c.upload_id"
                " WHERE u.account_id = $1",
                tenant.account_id,
            )
        )

    await eventually(under_way, timeout_seconds=60, poll_seconds=0.01)
    own_infrastructure.kill("rabbitmq")
    assert not upload.done()
    await asyncio.to_thread(own_infrastructure.start, "rabbitmq")
    answer = await upload
    if answer.status_code == 201:
        await backstage.holds_exactly(tenant, answer.json()["asset"])
    else:
        assert (answer.status_code, answer.json()["retryable"]) == (503, True), answer.text
        await backstage.holds_exactly(tenant)
    assert (await tenant.upload(os.urandom(12 * MEGABYTE))).status_code == 201
