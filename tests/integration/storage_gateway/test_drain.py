"""A gateway that is stopped finishes what it has begun, and workers still fetch its chunks."""

import asyncio
import os

from tests.support.gateway import MEGABYTE, Backstage, Tenant, World, form, part_head, problem
from tests.support.infrastructure import ServiceStarter
from tests.support.waiting import eventually

HEAD = part_head("file", "film.mp4")
SIZE = 40 * MEGABYTE


async def test_an_upload_that_is_under_way_is_finished_by_a_gateway_that_is_stopped(
    world: World, tenant: Tenant, backstage: Backstage, start_service: ServiceStarter
) -> None:
    gateway = start_service("storage-gateway")
    at_it = tenant.at(gateway.url)
    content = os.urandom(SIZE)
    body = b"".join(form(("file", "film.mp4", content)))
    async with at_it.raw_upload(length=len(body)) as upload:
        await upload.send(body[: 5 * MEGABYTE])
        await eventually(lambda: backstage.open_uploads(tenant))
        gateway.process.terminate()

        async def is_draining() -> bool:
            return (await world.http.get(f"{gateway.url}/readyz")).status_code == 503

        await eventually(is_draining)
        refused = await at_it.post_form(b"".join(form(("file", "other.mp4", b"other"))))
        assert problem(refused) == (503, "shutting_down")
        assert int(refused.headers["retry-after"]) > 0
        # Most chunks are received, and fetched by workers, after the gateway was told to stop.
        await upload.send(body[5 * MEGABYTE :])
        status, answer = await upload.answer()
    assert status == 201, answer
    await asyncio.to_thread(gateway.wait_for_end)
    await backstage.holds_exactly(tenant, answer["asset"])


async def test_an_upload_that_takes_too_long_fails_with_an_error_and_leaves_nothing(
    tenant: Tenant, backstage: Backstage, start_service: ServiceStarter
) -> None:
    gateway = start_service("storage-gateway", {"DRAIN_SECONDS": "0.2"})
    async with tenant.at(gateway.url).raw_upload(length=SIZE) as upload:
        await upload.send(HEAD + os.urandom(15 * MEGABYTE))
        await eventually(lambda: backstage.open_uploads(tenant))
        gateway.process.terminate()
        status, answer = await upload.answer()
    assert (status, answer["code"]) == (503, "shutting_down")
    await asyncio.to_thread(gateway.wait_for_end)
    await backstage.holds_exactly(tenant)
    assert (await backstage.last_upload(tenant))["failure_code"] == "shutting_down"
