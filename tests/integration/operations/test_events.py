"""The event log of a running broker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import aio_pika
import pytest
from tests.integration.operations.conftest import Bench, deleted
from tests.support.waiting import eventually

from jettythunder import telemetry
from jettythunder.broker import topology
from jettythunder.broker.event_log import EventFilter
from operations.assembly import BrokerLog
from operations.errors import EventNotFound


async def test_the_log_is_filtered_by_type_account_and_correlation(bench: Bench) -> None:
    account_id = uuid4()
    with telemetry.correlated("trace-me"):
        wanted = await bench.publish_events(deleted(account_id))
    await bench.publish_events(deleted())
    await eventually(lambda: len(bench.seen) == 2)
    for filter_ in (
        EventFilter(account=str(account_id)),
        EventFilter(types=("*.deleted.v1",), subject=str(account_id)),
        EventFilter(correlation_id="trace-me", account=str(account_id)),
    ):
        assert await bench.found(filter_) == wanted, filter_
    assert await bench.found(EventFilter(types=("agentcache.*",), account=str(account_id))) == []


async def test_the_logs_end_is_found_while_events_come(bench: Bench) -> None:
    log = BrokerLog(bench.environment["RABBITMQ_URL"])
    exchange = await bench.channel.get_exchange(topology.EVENTS, ensure=False)

    async def publish_on() -> None:
        while True:
            await exchange.publish(aio_pika.Message(b"{}"), "only.the.log.takes.this")

    async with asyncio.TaskGroup() as group:
        publishing = [group.create_task(publish_on()) for _ in range(5)]
        async with asyncio.timeout(60):
            ends = [await log.end() for _ in range(20)]
        for task in publishing:
            task.cancel()
    assert ends == sorted(set(ends))


async def test_a_trace_is_the_tree_of_what_caused_what(bench: Bench) -> None:
    correlation = uuid4().hex
    with telemetry.correlated(correlation):
        [root] = await bench.publish_events(deleted())
    with telemetry.correlated(correlation, str(root)):
        children = await bench.publish_events(deleted(), deleted())
    with telemetry.correlated(correlation, str(children[0])):
        [grandchild] = await bench.publish_events(deleted())
    await eventually(lambda: len(bench.seen) == 4)
    [tree] = await bench.operations.events.trace(correlation)
    assert tree.id == str(root)
    assert {child.id for child in tree.children} == set(map(str, children))
    grandchildren = {n.id for child in tree.children for n in child.children}
    assert grandchildren == {str(grandchild)}


async def test_an_event_is_looked_for_from_a_given_time_on(bench: Bench) -> None:
    [event_id] = await bench.processed(1)
    now = datetime.now(UTC)
    shown = await bench.operations.events.show(event_id, since=now - timedelta(minutes=1))
    assert shown.event is not None
    assert shown.event["id"] == str(event_id)
    with pytest.raises(EventNotFound):
        await bench.operations.events.show(event_id, since=now + timedelta(days=1))
