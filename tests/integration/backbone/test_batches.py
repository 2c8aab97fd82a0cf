"""Messages that are applied in batches: one that fails does so alone, and none is lost."""

from collections.abc import Sequence
from uuid import uuid4

from aio_pika.abc import AbstractIncomingMessage
from tests.support.waiting import eventually

from jettythunder import outbox
from jettythunder.broker.settling import ERROR_TYPE
from jettythunder.contracts.envelope import Event
from jettythunder.contracts.quota import QuotaRestoredV1
from usage_meter.messages import USAGE_METER_WEBHOOKS

from .conftest import SOURCE, Bench


async def test_a_message_that_breaks_its_parser_is_set_aside_and_harms_no_other(bench: Bench) -> None:
    applied: list[int] = []

    async def apply(items: Sequence[int]) -> None:
        applied.extend(items)

    def parse(event: Event[QuotaRestoredV1]) -> int:
        if event.data.used_bytes == 13:
            raise RuntimeError("unlucky")
        return event.data.used_bytes

    consumer = bench.backbone.batch_consumer(USAGE_METER_WEBHOOKS, apply, batch_size=100, linger_seconds=0.05)
    consumer.on(QuotaRestoredV1, parse)
    consumer.start()
    events = outbox.rows(
        *(
            QuotaRestoredV1(account_id=uuid4(), resource="storage", used_bytes=used, quota_bytes=100)
            for used in range(11, 16)
        ),
        source=SOURCE,
    )
    async with bench.pool.acquire() as connection, connection.transaction():
        await outbox.write_rows(connection, events)

    dead = await bench.channel.declare_queue(USAGE_METER_WEBHOOKS.dead_letter_queue, passive=True)

    async def set_aside() -> AbstractIncomingMessage | None:
        return await dead.get(no_ack=True, fail=False)

    letter = await eventually(set_aside, timeout_seconds=30)
    assert letter.message_id == str(events.event_ids[2])
    assert letter.headers[ERROR_TYPE] == "builtins.RuntimeError"
    assert sorted(applied) == [11, 12, 14, 15]
    await consumer.close(timeout_seconds=5)
