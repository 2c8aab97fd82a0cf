"""What a consumer has processed is forgotten long after, page by page, and that of others is not."""

from __future__ import annotations

from uuid import UUID, uuid4

from tests.integration.messaging.conftest import QUEUE, Bench

from jettythunder.outbox import inbox

KEEP_DAYS = 90


async def process(bench: Bench, *, consumer: str = QUEUE.name, days_ago: int) -> UUID:
    """Have an event processed some days ago."""
    event_id = uuid4()
    await bench.sql.execute(
        "INSERT INTO inbox (consumer, event_id, processed_at)"
        " VALUES ($1, $2, now() - make_interval(days => $3))",
        consumer,
        event_id,
        days_ago,
    )
    return event_id


async def forget(bench: Bench, *, batch_size: int = 100) -> int:
    return await inbox.forget(
        bench.database, consumers=[QUEUE.name], keep_days=KEEP_DAYS, batch_size=batch_size
    )


async def remembered(bench: Bench) -> set[UUID]:
    return {row["event_id"] for row in await bench.sql.fetch("SELECT event_id FROM inbox")}


async def test_what_was_processed_long_ago_is_forgotten_and_the_rest_is_not(bench: Bench) -> None:
    await process(bench, days_ago=KEEP_DAYS + 1)
    kept = {
        await process(bench, days_ago=KEEP_DAYS - 1),
        await process(bench, days_ago=0),
        await process(bench, consumer="another", days_ago=KEEP_DAYS + 1),
    }
    assert await forget(bench) == 1
    assert await remembered(bench) == kept


async def test_it_is_forgotten_in_pages(bench: Bench) -> None:
    for _ in range(5):
        await process(bench, days_ago=KEEP_DAYS + 1)
    assert [await forget(bench, batch_size=2) for _ in range(4)] == [2, 2, 1, 0]
