"""Objects that vanish behind the system's back: found, given up, credited, and free to be stored again."""

import os
from collections.abc import Iterator
from uuid import UUID, uuid4

import aio_pika
import pytest
from tests.support.gateway import Backstage, Tenant, World, problem
from tests.support.infrastructure import Infrastructure, Services, ServiceStarter
from tests.support.usage_cli import UsageCli
from tests.support.waiting import eventually

from jettythunder.broker import topology
from jettythunder.contracts.assets import AssetObjectMissingV1
from jettythunder.contracts.envelope import Event
from storage_gateway.messages import STORAGE_GATEWAY_EVENTS

SIZE = 100_000
WAIT_SECONDS = 60.0


@pytest.fixture(scope="module")
def usage(
    infrastructure: Infrastructure, services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UsageCli]:
    """The command line, speaking to a usage-meter that takes its second look soon."""
    starter = ServiceStarter(infrastructure, tmp_path_factory.mktemp("usage-meter"))
    meter = starter("usage-meter", {"USAGE_RECONCILE_SETTLE_SECONDS": "0.1"})
    yield UsageCli(
        {
            "JETTYTHUNDER_USAGE_METER_URL": meter.url,
            "JETTYTHUNDER_OPS_TOKEN": services.environment["JETTYTHUNDER_OPS_TOKEN"],
        }
    )
    starter.end()


async def used_bytes(tenant: Tenant) -> int:
    answer = await tenant.get("/api/agentcache/quota")
    return int(answer.json()["storage"]["used_bytes"])


async def uses(tenant: Tenant, size_bytes: int) -> None:
    async def same() -> bool:
        return await used_bytes(tenant) == size_bytes

    await eventually(same, timeout_seconds=WAIT_SECONDS)


async def test_a_lost_object_is_found_given_up_credited_and_stored_again(
    world: World, backstage: Backstage, usage: UsageCli
) -> None:
    tenant = await world.tenant()
    content = os.urandom(SIZE)
    kept, lost = await tenant.store(), await tenant.store(content)
    both = kept["size_bytes"] + SIZE
    await uses(tenant, both)
    await backstage.storage.delete(lost["s3_key"])

    found = await usage("reconcile", tenant.user, "--json")
    assert (found.code, found.json[0]["drift_bytes"]) == (2, SIZE), found.errors
    assert (await tenant.get(f"/api/storage/assets/{lost['id']}")).status_code == 200
    assert await used_bytes(tenant) == both

    mended = await usage("reconcile", tenant.user, "--fix")
    assert mended.code == 0, mended.output + mended.errors
    await uses(tenant, kept["size_bytes"])
    answer = await tenant.get(f"/api/storage/assets/{lost['id']}")
    assert problem(answer) == (404, "asset_not_found")
    assert (await usage("reconcile", tenant.user, "--json")).json == []

    again = await tenant.store(content)
    assert (again["deduplicated"], again["id"] != lost["id"]) == (False, True)
    await backstage.holds_exactly(tenant, kept, again)


async def test_an_asset_whose_object_is_there_survives_a_false_alarm(
    infrastructure: Infrastructure, world: World, backstage: Backstage
) -> None:
    tenant = await world.tenant()
    asset = await tenant.store()
    alarm = Event[AssetObjectMissingV1](
        id=uuid4(),
        source="/test",
        type=AssetObjectMissingV1.TYPE,
        subject=str(tenant.account_id),
        data=AssetObjectMissingV1(
            account_id=tenant.account_id,
            asset_id=UUID(asset["id"]),
            s3_bucket=backstage.storage.bucket,
            s3_key=asset["s3_key"],
            size_bytes=asset["size_bytes"],
        ),
    )
    async with await aio_pika.connect(infrastructure.rabbitmq_url) as connection:
        exchange = await (await connection.channel()).get_exchange(topology.EVENTS)
        await exchange.publish(
            aio_pika.Message(alarm.encode(), type=alarm.type, message_id=str(alarm.id)), alarm.type
        )

    async def heard() -> bool:
        return bool(
            await backstage.pool.fetchval(
                "SELECT true FROM inbox WHERE consumer = $1 AND event_id = $2",
                STORAGE_GATEWAY_EVENTS.name,
                alarm.id,
            )
        )

    await eventually(heard, timeout_seconds=WAIT_SECONDS)
    assert (await tenant.get(f"/api/storage/stream/{asset['id']}")).status_code == 200
    await backstage.holds_exactly(tenant, asset)
