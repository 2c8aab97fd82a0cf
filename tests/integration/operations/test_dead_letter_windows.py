"""Dead letters of a queue that is far longer than a window."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import pytest
import pytest_asyncio
from tests.integration.operations.conftest import QUEUE, Bench
from tests.support.infrastructure import Infrastructure

from jettythunder.broker import topology
from jettythunder.broker.dead_letter_queue import open_dead_letters
from operations.dead_letters import Selection

MANY = 1_200
WINDOW = 200
OPERATOR = "tester"


@pytest_asyncio.fixture
async def many(bench: Bench) -> AsyncIterator[list[str]]:
    """The ids of many dead letters; each tenth failed in another way than the others."""
    exchange = await bench.channel.get_exchange(topology.DEAD_LETTERS, ensure=False)
    ids = [f"{number:08}" for number in range(MANY)]
    for begin in range(0, MANY, 1000):
        await asyncio.gather(
            *(
                exchange.publish(
                    aio_pika.Message(
                        b"{}",
                        message_id=message_id,
                        headers={"x-jt-fingerprint": "rare" if message_id.endswith("0") else "usual"},
                        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                    ),
                    QUEUE.name,
                )
                for message_id in ids[begin : begin + 1000]
            )
        )
    yield ids
    await (await bench.channel.declare_queue(QUEUE.dead_letter_queue, passive=True)).purge()


async def test_looking_holds_a_window_and_keeps_the_order(
    servers: Infrastructure, bench: Bench, many: list[str]
) -> None:
    queue = await bench.channel.declare_queue(QUEUE.dead_letter_queue, passive=True)
    seen: list[str] = []
    async with open_dead_letters(servers.rabbitmq_url, QUEUE, window_size=WINDOW) as opened:
        assert opened is not None
        async for window in opened.windows():
            assert len(window) <= WINDOW
            seen += [message.message_id for message in window]
    assert seen == many
    assert await bench.dead_ids() == many
    ready = await queue.declare()
    assert ready.message_count == MANY


async def test_looking_that_ends_early_keeps_the_order(bench: Bench, many: list[str]) -> None:
    for message_id in (many[3], many[MANY // 2]):
        assert (await bench.operations.dead_letters.fetch(message_id)).message_id == message_id
        assert await bench.dead_ids() == many


async def test_a_group_is_retried_and_the_others_keep_their_order(bench: Bench, many: list[str]) -> None:
    groups = await bench.operations.dead_letters.groups(QUEUE.name)
    assert [(group.fingerprint, group.count) for group in groups] == [
        ("usual", MANY * 9 // 10),
        ("rare", MANY // 10),
    ]
    told: list[int] = []
    count = await bench.operations.dead_letters.discard(
        Selection(fingerprint="rare"), why="a test", who=OPERATOR, on_progress=told.append
    )
    assert (count, told[-1], told == sorted(told)) == (MANY // 10, MANY // 10, True)
    assert await bench.dead_ids() == [message_id for message_id in many if not message_id.endswith("0")]


async def test_looking_that_fails_half_way_loses_nothing(
    servers: Infrastructure, bench: Bench, many: list[str]
) -> None:
    async def fail_half_way() -> None:
        async with open_dead_letters(servers.rabbitmq_url, QUEUE, window_size=WINDOW) as opened:
            assert opened is not None
            seen = 0
            async for window in opened.windows():
                seen += len(window)
                if seen > MANY // 2:
                    raise RuntimeError

    with pytest.raises(RuntimeError):
        await fail_half_way()
    assert sorted(await bench.dead_ids()) == many
