"""A broker that is killed right after the event log was made: RabbitMQ 3.10 forgets so new a stream."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Iterator

import aio_pika
import pytest
from tests.integration.messaging.conftest import logged, opened_messaging, settings_for
from tests.support.infrastructure import Infrastructure, running_infrastructure
from tests.support.waiting import eventually

from jettythunder.broker import topology
from jettythunder.broker.connection import EventLogLost, declare_topology
from jettythunder.errors import BrokerUnavailable
from jettythunder_dev.layout import REPOSITORY

pytestmark = pytest.mark.chaos


@pytest.fixture
def new_infrastructure() -> Iterator[Infrastructure]:
    """Servers of the test's own, on which nothing was declared yet."""
    with running_infrastructure(declared=False, fsync=False) as running:
        yield running


async def kill_broker(infrastructure: Infrastructure) -> None:
    """SIGKILL the broker and start it again."""
    await asyncio.to_thread(infrastructure.kill, "rabbitmq")
    await asyncio.to_thread(infrastructure.start, "rabbitmq")


def documented_command() -> list[str]:
    """What docs/operations.md tells ops to do about a stream that stays away."""
    [command] = re.findall(r"^rabbitmqctl eval .*$", (REPOSITORY / "docs/operations.md").read_text(), re.M)
    return shlex.split(command)[1:]


async def test_a_log_that_was_declared_outlives_the_broker(new_infrastructure: Infrastructure) -> None:
    async with opened_messaging(new_infrastructure):
        await kill_broker(new_infrastructure)
    async with opened_messaging(new_infrastructure):
        assert await logged(new_infrastructure) == []


async def test_a_lost_log_is_named_and_made_anew_as_documented(new_infrastructure: Infrastructure) -> None:
    url, settings = new_infrastructure.rabbitmq_url, settings_for(new_infrastructure)
    async with await aio_pika.connect(url) as connection:
        await topology.declare_shared(await connection.channel(), settings)
    await kill_broker(new_infrastructure)

    async def is_lost() -> bool:
        try:
            await declare_topology(settings, ())
        except EventLogLost:
            return True
        except BrokerUnavailable:
            return False
        raise RuntimeError("the broker has kept the stream")

    await eventually(is_lost, timeout_seconds=30)
    await asyncio.to_thread(new_infrastructure.rabbitmqctl, *documented_command())
    await declare_topology(settings, ())
    assert await logged(new_infrastructure) == []
