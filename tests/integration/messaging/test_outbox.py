"""What was committed is published at once, and nothing else is."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

import asyncpg
import pytest
from prometheus_client import REGISTRY
from tests.integration.messaging.conftest import (
    QUEUE,
    Bench,
    deleted,
    logged,
    opened_bench,
    opened_messaging,
    settings_for,
)
from tests.support.infrastructure import Infrastructure
from tests.support.outbox import write
from tests.support.scripted_broker import always_ack, scripted_broker
from tests.support.waiting import eventually

from jettythunder import outbox
from jettythunder.broker.connection import BrokerLink
from jettythunder.broker.publisher import Publisher
from jettythunder.broker.topology import COMMANDS
from jettythunder.database import Database, Queries
from jettythunder.errors import BrokerUnavailable, DatabaseUnavailable
from jettythunder.lifecycle import role_of
from jettythunder.outbox.relay import LOCK_SPACE, Batch, Relay
from jettythunder.outbox.writing import LANES
from usage_meter.messages import MESSAGES

# A relay that polls so seldom publishes within a test only what it was woken for.
NEVER_SECONDS = 3600.0

change_state = Queries("tests.integration.messaging").one("change_state", bool)

Commit = Callable[[Database], Awaitable[list[UUID]]]


@dataclass(frozen=True)
class Process:
    """A process that publishes what it commits, and consumes nothing."""

    database: Database
    relay: Relay


@contextlib.asynccontextmanager
async def opened_process(
    infrastructure: Infrastructure,
    *,
    poll_seconds: float = NEVER_SECONDS,
    measure_seconds: float = 5,
    rabbitmq_url: str | None = None,
) -> AsyncIterator[Process]:
    """Its relay is not started."""
    settings = settings_for(infrastructure)
    database = Database(str(settings.database_url), name="test", role=role_of(MESSAGES.service))
    await database.open()
    link = BrokerLink(rabbitmq_url or infrastructure.rabbitmq_url, name="test relay")
    relay = Relay(database, Publisher(link), poll_seconds=poll_seconds, measure_seconds=measure_seconds)
    try:
        yield Process(database, relay)
    finally:
        await relay.close()
        await link.close()
        await database.close()


async def arrival(bench: Bench) -> UUID:
    """Wait for the next event in the queue, which nobody else consumes; its id."""
    queue = await bench.channel.declare_queue(QUEUE.name, passive=True)

    async def taken() -> str | None:
        message = await queue.get(no_ack=True, fail=False)
        return message.message_id if message is not None else None

    return UUID(await eventually(taken))


def gauge(name: str) -> float:
    value = REGISTRY.get_sample_value(f"jettythunder_outbox_{name}")
    assert value is not None
    return value


async def test_an_event_is_published_when_its_transaction_commits(bench: Bench) -> None:
    committed = await bench.commit(deleted())
    await eventually(lambda: bench.ids() == committed)


async def test_an_event_is_not_published_when_its_transaction_rolls_back(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bench.database.transaction() as connection:
            await outbox.write(connection, deleted(), source="/test")
            raise ZeroDivisionError
    later = await bench.commit(deleted())
    await eventually(lambda: bench.ids() == later)


async def in_a_transaction(database: Database) -> list[UUID]:
    async with database.transaction() as connection:
        return await write(connection, deleted())


async def in_a_statement(database: Database) -> list[UUID]:
    return await write(database, deleted())


async def within_another_statement(database: Database) -> list[UUID]:
    rows = outbox.rows(deleted(), source="/test")
    assert await change_state(database, **vars(rows))
    return rows.event_ids


async def within_another_statement_of_a_transaction(database: Database) -> list[UUID]:
    rows = outbox.rows(deleted(), source="/test")
    async with database.transaction() as connection:
        assert await change_state(connection, **vars(rows))
    return rows.event_ids


@pytest.mark.parametrize(
    "commit",
    [
        in_a_transaction,
        in_a_statement,
        within_another_statement,
        within_another_statement_of_a_transaction,
    ],
)
async def test_a_commit_wakes_the_relay_of_its_process(servers: Infrastructure, commit: Commit) -> None:
    async with opened_bench(servers, started=False) as bench, opened_process(servers) as process:
        process.relay.start()
        # Once the first has come the relay has looked, so that only a wake brings the others.
        for _ in range(3):
            committed = await commit(process.database)
            assert [await arrival(bench)] == committed


async def test_what_another_process_left_is_found_by_polling(servers: Infrastructure) -> None:
    async with (
        opened_bench(servers, started=False) as bench,
        opened_process(servers, poll_seconds=0.1) as process,
    ):
        process.relay.start()
        for _ in range(3):
            committed = await bench.commit(deleted())
            assert [await arrival(bench)] == committed


async def test_events_of_one_account_keep_their_order_with_two_relays(servers: Infrastructure) -> None:
    async with opened_bench(servers, started=False) as bench, opened_process(servers) as second:
        accounts = [uuid4() for _ in range(6)]
        for number in range(1, 200):
            await bench.commit(*(deleted(account, size_bytes=number) for account in accounts))
        second.relay.start()
        await bench.messaging.start()
        await eventually(lambda: len(bench.seen) == 199 * 6, timeout_seconds=60)
        sizes_by_account: dict[str, list[int]] = {str(account): [] for account in accounts}
        for entry in await logged(servers):
            if entry.event is not None and entry.event.subject in sizes_by_account:
                sizes_by_account[entry.event.subject].append(entry.event.data["size_bytes"])
        for sizes in sizes_by_account.values():
            assert sizes == list(range(1, 200))


async def test_an_event_in_a_lane_that_another_relay_holds_is_published_right_after(
    servers: Infrastructure,
) -> None:
    async with opened_bench(servers, started=False) as bench, opened_process(servers) as process:
        async with bench.sql.transaction():
            await _hold_all_lanes(bench.sql)
            committed = await in_a_transaction(process.database)
            assert await process.relay.publish_batch() == Batch(size=0, others_left=True)
            # Only having seen what it could not take brings it back.
            process.relay.start()
        assert [await arrival(bench)] == committed


async def _hold_all_lanes(sql: asyncpg.Connection[asyncpg.Record]) -> None:
    """As a relay does while it waits for the broker's confirms."""
    await sql.execute(
        "SELECT pg_advisory_xact_lock($1, lane) FROM generate_series(0, $2) AS lane", LOCK_SPACE, len(LANES)
    )


async def test_an_event_that_no_queue_takes_is_set_aside_and_holds_up_nothing(bench: Bench) -> None:
    lost = outbox.rows(deleted(), source="/test")
    lost.exchanges[0] = COMMANDS
    async with bench.database.transaction() as connection:
        await outbox.write_rows(connection, lost)
        good = await write(connection, deleted(), deleted())
    await eventually(lambda: set(bench.ids()) == set(good))
    # Consumers may be done before the relay has committed what became of its batch.
    rows = await eventually(lambda: bench.sql.fetch("SELECT event_id, reason FROM outbox_quarantine"))
    assert [row["event_id"] for row in rows] == lost.event_ids
    assert "no queue" in rows[0]["reason"]


async def test_a_batch_cut_off_by_the_broker_stays_in_the_outbox_and_is_published_again(
    servers: Infrastructure,
) -> None:
    async with (
        opened_bench(servers, started=False) as bench,
        scripted_broker() as broker,
        opened_process(servers, rabbitmq_url=broker.url) as process,
    ):
        committed = [str(event_id) for event_id in await bench.commit(*(deleted() for _ in range(5)))]
        broker.answer = lambda message: "hang up" if message.message_id == committed[3] else "ack"
        with pytest.raises(BrokerUnavailable):
            await process.relay.publish_batch()
        assert await bench.sql.fetchval("SELECT count(*) FROM outbox") == 5
        broker.answer = always_ack
        assert await process.relay.publish_batch() == Batch(size=5, others_left=False)
        assert broker.message_ids == [*committed[:4], *committed]
        assert await bench.sql.fetchval("SELECT count(*) FROM outbox") == 0


async def test_a_duplicate_is_passed_over_and_counted(bench: Bench) -> None:
    def duplicates() -> float:
        return REGISTRY.get_sample_value("jettythunder_duplicates_total", {"consumer": QUEUE.name}) or 0

    before = duplicates()
    event = outbox.rows(deleted(), source="/test")
    for _ in range(3):
        await outbox.write_rows(bench.database, event)
    await eventually(lambda: (duplicates(), bench.ids()) == (before + 2, event.event_ids))


async def test_backlog_and_lag_are_measured_while_the_broker_cannot_be_reached(
    own_infrastructure: Infrastructure,
) -> None:
    async with opened_process(own_infrastructure, measure_seconds=0.1) as process:
        process.relay.start()
        await asyncio.to_thread(own_infrastructure.kill, "rabbitmq")
        for _ in range(3):
            await in_a_transaction(process.database)
        lag = await eventually(lambda: gauge("backlog") == 3 and gauge("lag_seconds"))
        await eventually(lambda: gauge("lag_seconds") > lag + 1)
        await asyncio.to_thread(own_infrastructure.start, "rabbitmq")
        await eventually(lambda: (gauge("backlog"), gauge("lag_seconds")) == (0, 0), timeout_seconds=30)


async def test_a_service_that_starts_while_the_broker_cannot_be_reached_waits_for_it(
    own_infrastructure: Infrastructure,
) -> None:
    async with opened_messaging(own_infrastructure) as (_, messaging):
        await asyncio.to_thread(own_infrastructure.kill, "rabbitmq")
        starting = asyncio.create_task(messaging.start())
        await asyncio.to_thread(own_infrastructure.start, "rabbitmq")
        await starting
        await messaging.ping()


@pytest.mark.chaos
async def test_everything_committed_arrives_although_the_broker_is_killed(
    own_infrastructure: Infrastructure,
) -> None:
    async with opened_bench(own_infrastructure) as bench:
        committed = await bench.commit(*(deleted() for _ in range(300)))
        await asyncio.to_thread(own_infrastructure.kill, "rabbitmq")
        committed += await bench.commit(*(deleted() for _ in range(300)))
        await asyncio.to_thread(own_infrastructure.start, "rabbitmq")
        await eventually(lambda: sorted(bench.ids()) == sorted(committed), timeout_seconds=60)
        in_log = {entry.event.id for entry in await logged(own_infrastructure) if entry.event}
        assert set(committed) <= in_log


@pytest.mark.chaos
async def test_everything_committed_arrives_although_the_database_is_killed(
    own_infrastructure: Infrastructure,
) -> None:
    async with opened_bench(own_infrastructure) as bench:
        committed = await bench.commit(*(deleted() for _ in range(300)))
        await asyncio.to_thread(own_infrastructure.kill, "postgres")
        await asyncio.to_thread(own_infrastructure.start, "postgres")

        async def commit_more() -> bool:
            try:
                committed.extend(await bench.commit(deleted()))
            except DatabaseUnavailable:
                return False
            return True

        await eventually(commit_more, timeout_seconds=30)
        await eventually(lambda: sorted(bench.ids()) == sorted(committed), timeout_seconds=60)
