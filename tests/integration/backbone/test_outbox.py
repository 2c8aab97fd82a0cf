"""What was committed is published, and nothing else is."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import asyncpg
import pytest
from jettythunder.backbone import open_backbone
from prometheus_client import REGISTRY
from tests.integration.backbone.conftest import QUEUE, SOURCE, Bench, deleted, opened_bench, settings_for
from tests.support.infrastructure import Infrastructure
from tests.support.waiting import eventually

from jettythunder import outbox
from jettythunder.broker.event_log import open_event_log
from jettythunder.database import Connection
from jettythunder.outbox.relay import LOCK_SPACE, Batch, Relay
from jettythunder.outbox.writing import LANE_COUNT


async def test_an_event_is_published_when_its_transaction_commits(bench: Bench) -> None:
    committed = await bench.commit(deleted())
    await eventually(lambda: bench.ids() == committed)


async def test_an_event_is_not_published_when_its_transaction_rolls_back(bench: Bench) -> None:
    with pytest.raises(ZeroDivisionError):
        async with bench.pool.acquire() as connection, connection.transaction():
            await outbox.write(connection, deleted(), source=SOURCE)
            raise ZeroDivisionError
    later = await bench.commit(deleted())
    await eventually(lambda: bench.ids() == later)


async def test_events_of_one_account_keep_their_order_with_two_relays(
    backbone_infrastructure: Infrastructure,
) -> None:
    async with opened_bench(backbone_infrastructure, relay=False) as bench:
        accounts = [uuid4() for _ in range(6)]
        for number in range(1, 200):
            await bench.commit(*(deleted(account, size_bytes=number) for account in accounts))
        second = Relay(bench.pool, backbone_infrastructure.rabbitmq_url, name="second")
        bench.backbone.relay.start()
        second.start()
        try:
            await eventually(lambda: len(bench.seen) == 199 * 6, timeout_seconds=60)
        finally:
            await second.close()
        sizes_by_account: dict[str, list[int]] = {str(account): [] for account in accounts}
        async for entry in bench.operations.log.read():
            if entry.event is not None and entry.event.subject in sizes_by_account:
                sizes_by_account[entry.event.subject].append(entry.event.data["size_bytes"])
        for sizes in sizes_by_account.values():
            assert sizes == list(range(1, 200))


async def test_an_event_in_a_lane_that_another_relay_holds_is_published_right_after(
    backbone_infrastructure: Infrastructure,
) -> None:
    async with opened_bench(backbone_infrastructure, relay=False) as bench:
        # One that does not poll: only having seen what it could not take brings it back.
        relay = Relay(
            bench.pool, backbone_infrastructure.rabbitmq_url, name=bench.backbone.name, poll_seconds=3600
        )
        async with bench.pool.acquire() as connection, connection.transaction():
            other = Relay(bench.pool, backbone_infrastructure.rabbitmq_url, name="other")
            await asyncio.gather(relay.ping(), other.ping())
            await _hold_all_lanes(connection)
            committed = await bench.commit(deleted())
            relay.start()
            assert await other.publish_batch() == Batch(size=0, others_left=True)
            await other.close()
        try:
            await eventually(lambda: bench.ids() == committed)
        finally:
            await relay.close()


async def _hold_all_lanes(connection: Connection) -> None:
    """As a relay does while it waits for the broker's confirms."""
    await connection.execute(
        "SELECT pg_advisory_xact_lock($1, lane) FROM generate_series(0, $2) AS lane", LOCK_SPACE, LANE_COUNT
    )


async def test_an_event_that_no_queue_takes_is_set_aside_and_holds_up_nothing(bench: Bench) -> None:
    lost = outbox.rows(deleted(), source=SOURCE)
    lost.exchanges[0] = "jettythunder.commands"
    good = outbox.rows(deleted(), deleted(), source=SOURCE)
    async with bench.pool.acquire() as connection, connection.transaction():
        await outbox.write_rows(connection, lost)
        await outbox.write_rows(connection, good)
    await eventually(lambda: set(bench.ids()) == set(good.event_ids))
    rows = await bench.pool.fetch("SELECT event_id, reason FROM outbox_quarantine")
    assert [row["event_id"] for row in rows] == lost.event_ids
    assert "no queue" in rows[0]["reason"]


async def test_a_duplicate_is_passed_over_and_counted(bench: Bench) -> None:
    def duplicates() -> float:
        return REGISTRY.get_sample_value("jettythunder_duplicates_total", {"consumer": QUEUE.name}) or 0

    before = duplicates()
    event = outbox.rows(deleted(), source=SOURCE)
    for _ in range(3):
        async with bench.pool.acquire() as connection:
            await outbox.write_rows(connection, event)
    await eventually(lambda: duplicates() == before + 2)
    assert bench.ids() == event.event_ids


async def test_backlog_and_lag_are_measured(bench: Bench) -> None:
    await bench.commit(deleted())
    await eventually(lambda: len(bench.seen) == 1)
    assert REGISTRY.get_sample_value("jettythunder_outbox_backlog") is not None
    assert REGISTRY.get_sample_value("jettythunder_outbox_lag_seconds") is not None


async def test_a_service_that_starts_while_the_broker_is_away_waits_for_it(
    own_infrastructure: Infrastructure,
) -> None:
    async with open_backbone(settings_for(own_infrastructure), name="backbone-test") as backbone:
        await asyncio.to_thread(own_infrastructure.kill, "rabbitmq")
        starting = asyncio.create_task(backbone.start())
        await asyncio.to_thread(own_infrastructure.start, "rabbitmq")
        await starting
        await backbone.pings["broker"]()


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
        async with open_event_log(own_infrastructure.rabbitmq_url) as log:
            logged = {entry.event.id async for entry in log.read() if entry.event}
        assert set(committed) <= logged


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
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                return False
            return True

        await eventually(commit_more, timeout_seconds=30)
        await eventually(lambda: sorted(bench.ids()) == sorted(committed), timeout_seconds=60)
