"""The broker refuses a service's user what its messages do not need; the stack's services are these users."""

import json
from collections.abc import AsyncIterator

import aio_pika
import aiormq.exceptions
import pytest
import pytest_asyncio
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from tests.support.commands import jettythunder
from tests.support.infrastructure import Infrastructure

from jettythunder.broker import topology
from jettythunder.broker.connection import declare_topology
from jettythunder.errors import BrokerUnavailable
from jettythunder.settings import BrokerSettings
from jettythunder_dev.rabbitmq import NativeRabbitMQ


@pytest.fixture
def broker(infrastructure: Infrastructure) -> NativeRabbitMQ:
    role = infrastructure.stack.roles["rabbitmq"]
    if not isinstance(role, NativeRabbitMQ):
        pytest.skip("The stack's own node has a user for each service.")
    return role


@pytest_asyncio.fixture
async def channel(broker: NativeRabbitMQ, service: str) -> AsyncIterator[AbstractChannel]:
    async with await aio_pika.connect(broker.variables_of(service)["RABBITMQ_URL"]) as connection:
        yield await connection.channel()


async def ignore(_: AbstractIncomingMessage) -> None:
    """Messages are not what these tests are about."""


@pytest.mark.parametrize(
    ("service", "queue"),
    [
        ("chunk-worker", "provisioning.commands"),
        ("chunk-worker", topology.EVENT_LOG),
        ("storage-gateway", "provisioning.commands"),
        ("storage-gateway", "usage-meter.events"),
        ("usage-meter", "provisioning.agentcache-events"),
        ("usage-meter", "usage-meter.events.dead-letters"),
        ("provisioning", "chunk-worker.commands"),
        ("operations", "provisioning.commands"),
    ],
)
async def test_a_foreign_queue_is_refused(channel: AbstractChannel, queue: str) -> None:
    foreign = await channel.get_queue(queue, ensure=False)
    with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
        await foreign.consume(ignore)


@pytest.mark.parametrize(
    ("service", "exchange"),
    [
        ("chunk-worker", topology.AGENTCACHE_EVENTS),
        ("chunk-worker", topology.COMMANDS),
        ("storage-gateway", topology.AGENTCACHE_EVENTS),
        ("storage-gateway", ""),
        ("usage-meter", topology.COMMANDS),
        ("usage-meter", ""),
        ("operations", topology.EVENTS),
    ],
)
async def test_a_foreign_exchange_is_refused(channel: AbstractChannel, exchange: str) -> None:
    foreign = await channel.get_exchange(exchange, ensure=False) if exchange else channel.default_exchange
    with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
        await foreign.publish(aio_pika.Message(b"{}"), "provisioning.commands", timeout=10)


@pytest.mark.parametrize("service", ["chunk-worker", "storage-gateway", "provisioning", "usage-meter"])
@pytest.mark.parametrize("queue", [topology.EVENT_LOG, "provisioning.commands"])
async def test_what_services_share_is_not_to_be_deleted(channel: AbstractChannel, queue: str) -> None:
    with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
        await channel.queue_delete(queue)


@pytest.mark.parametrize("service", ["usage-meter"])
async def test_a_user_who_may_not_declare_finds_it_declared_or_says_what_to_do(
    broker: NativeRabbitMQ, service: str
) -> None:
    settings = BrokerSettings.model_validate({"rabbitmq_url": broker.variables_of(service)["RABBITMQ_URL"]})
    await declare_topology(settings, topology.consumer_queues())
    missing = topology.ConsumerQueue(name="tests.missing", exchange=topology.EVENTS)
    with pytest.raises(BrokerUnavailable, match="broker declare"):
        await declare_topology(settings, (missing,))


async def test_the_command_prints_the_users() -> None:
    code, printed = await jettythunder({}, "broker", "users")
    assert (code, printed.count("rabbitmqctl add_user ")) == (0, len(topology.installed_services()) + 1)
    code, printed = await jettythunder({}, "broker", "users", "--json")
    assert {of_user["user"] for of_user in json.loads(printed)} == {
        "agentcache",
        *(f"jettythunder-{messages.service}" for messages in topology.installed_services()),
    }
