"""What a consumer has processed is remembered by the month of the event's time, and forgotten by months."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from tests.integration.messaging.conftest import QUEUE, Bench, opened_bench
from tests.support.infrastructure import Infrastructure

from jettythunder.errors import EventTooOld
from jettythunder.outbox import inbox

KEEP_DAYS = 90
NOW = datetime.now(UTC)
LONG_AGO = NOW - timedelta(days=400)


async def is_new(bench: Bench, event_id: UUID, *, at: datetime) -> bool:
    async with bench.database.transaction() as connection:
        return await inbox.first_time(connection, consumer=QUEUE.name, event_id=event_id, event_time=at)


async def partitions(bench: Bench) -> list[str]:
    rows = await bench.sql.fetch("SELECT name FROM partitions_of('inbox') ORDER BY ends_at")
    return [row["name"] for row in rows]


async def add_month(bench: Bench, at: datetime) -> str:
    """Make the partition of a month that is over, as it was made when the month began."""
    begin = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = (begin + timedelta(days=32)).replace(day=1)
    name = f"inbox_{begin:%Y_%m}"
    await bench.sql.execute(
        f"CREATE TABLE partitions.{name} PARTITION OF inbox FOR VALUES FROM ('{begin}') TO ('{end}')"
    )
    return name


@pytest_asyncio.fixture
async def bench(servers: Infrastructure) -> AsyncIterator[Bench]:
    """The partitions are looked after here alone."""
    async with opened_bench(servers, started=False) as opened:
        yield opened
        await opened.sql.execute("ALTER TABLE partitions.inbox_other DROP CONSTRAINT IF EXISTS inbox_horizon")


async def test_the_months_to_come_have_partitions_before_they_begin(bench: Bench) -> None:
    assert await inbox.keep(bench.database, keep_days=KEEP_DAYS) == 0
    made = await partitions(bench)
    assert f"inbox_{NOW:%Y_%m}" in made
    assert len(made) >= 3
    await inbox.keep(bench.database, keep_days=KEEP_DAYS)
    assert await partitions(bench) == made


@pytest.mark.parametrize("at", [NOW, LONG_AGO, NOW + timedelta(days=4000)])
async def test_an_event_is_new_once_whenever_it_happened(bench: Bench, at: datetime) -> None:
    event_id = uuid4()
    assert [await is_new(bench, event_id, at=at) for _ in range(2)] == [True, False]
    assert await inbox.seen(bench.database, consumer=QUEUE.name, event_id=event_id)


async def test_an_event_whose_sender_dates_it_anew_is_known(bench: Bench) -> None:
    event_id = uuid4()
    assert await is_new(bench, event_id, at=NOW)
    assert not await is_new(bench, event_id, at=NOW + timedelta(days=40))


async def test_what_came_before_its_month_had_a_partition_is_still_known(bench: Bench) -> None:
    for name in await partitions(bench):
        await bench.sql.execute(f"DROP TABLE partitions.{name}")
    event_id = uuid4()
    assert await is_new(bench, event_id, at=NOW)
    await inbox.keep(bench.database, keep_days=KEEP_DAYS)
    assert await bench.sql.fetchval("SELECT count(*) FROM partitions.inbox_other") == 0
    assert not await is_new(bench, event_id, at=NOW)


async def test_a_month_is_forgotten_as_a_whole_and_its_events_are_refused_from_then_on(bench: Bench) -> None:
    gone, kept = await add_month(bench, LONG_AGO), await add_month(bench, NOW - timedelta(days=85))
    old, older, recent = uuid4(), uuid4(), uuid4()
    assert await is_new(bench, old, at=LONG_AGO)
    assert await is_new(bench, older, at=LONG_AGO - timedelta(days=400))
    assert await is_new(bench, recent, at=NOW - timedelta(days=85))
    assert await inbox.keep(bench.database, keep_days=KEEP_DAYS) == 1
    assert gone not in await partitions(bench)
    for event_id, at in ((old, LONG_AGO), (older, LONG_AGO - timedelta(days=400)), (uuid4(), LONG_AGO)):
        with pytest.raises(EventTooOld):
            await is_new(bench, event_id, at=at)
    assert not await is_new(bench, recent, at=NOW - timedelta(days=85))
    await bench.sql.execute(f"DROP TABLE partitions.{kept}")
