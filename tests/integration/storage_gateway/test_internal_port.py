"""A gateway with an internal port: chunk-workers fetch chunks there, and the public port has none."""

import os

from tests.support.gateway import MEGABYTE, Tenant, World, problem
from tests.support.infrastructure import Infrastructure, ServiceStarter


async def test_chunks_are_fetched_on_the_internal_port(
    world: World, tenant: Tenant, infrastructure: Infrastructure, start_service: ServiceStarter
) -> None:
    port = infrastructure.first_port + 35
    gateway = start_service(
        "storage-gateway",
        {
            "INTERNAL_PORT": str(port),
            "GATEWAY_INTERNAL_URL": f"http://127.0.0.1:{port}",
            "JETTYSPEED_CHUNK_SIZE_MB": "6",
        },
    )
    content = os.urandom(13 * MEGABYTE)
    asset = await tenant.at(gateway.url).store(content)
    assert (await tenant.get(f"/api/storage/stream/{asset['id']}")).content == content

    ops = {"Authorization": f"Bearer {infrastructure.environment['JETTYTHUNDER_OPS_TOKEN']}"}
    assert problem(await world.http.get(f"{gateway.url}/metrics", headers=ops)) == (404, "not_found")
    metrics = await world.http.get(f"http://127.0.0.1:{port}/metrics", headers=ops)
    assert metrics.status_code == 200
    refused = await world.http.get(f"http://127.0.0.1:{port}/api/agentcache/quota")
    assert problem(refused) == (404, "not_found")
