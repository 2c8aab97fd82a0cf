"""Dead letters on a running broker."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest
from tests.integration.operations.conftest import OPERATOR, QUEUE, Bench, deleted, refuse
from tests.support.waiting import eventually

from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.errors import MalformedEvent
from operations.dead_letters import Selection


async def test_looking_at_dead_letters_takes_none_away(bench: Bench) -> None:
    bench.handler = refuse
    event_ids = await bench.publish_events(deleted(), deleted())
    await bench.dead_letters(2)
    looks = await asyncio.gather(*(bench.dead_ids() for _ in range(3)))
    for look in looks:
        assert set(look) == set(map(str, event_ids))


async def test_retrying_a_group_leaves_the_others(bench: Bench) -> None:
    bench.handler = refuse
    event_ids = await bench.publish_events(deleted(), deleted())
    malformed = await bench.publish({"specversion": "1.0"})
    await bench.dead_letters(3)
    groups = await bench.operations.dead_letters.groups(QUEUE.name)
    assert [(g.count, g.error_code) for g in groups] == [(2, "account_not_found"), (1, "malformed_event")]
    bench.handler = None
    selection = Selection(fingerprint=groups[0].fingerprint)
    assert await bench.operations.dead_letters.retry(selection, who=OPERATOR) == 2
    await eventually(lambda: set(bench.ids()) == set(event_ids))
    [left] = await bench.dead_letters(1)
    assert left.message_id == malformed


async def test_an_edited_dead_letter_is_processed_and_audited(bench: Bench) -> None:
    event_id, body = uuid4(), {"specversion": "1.0", "source": "/x", "type": AssetDeletedV1.TYPE}
    data = {"account_id": str(uuid4()), "asset_id": str(uuid4()), "size_bytes": "many", "reason": "request"}
    await bench.publish({**body, "id": str(event_id), "data": data}, message_id=str(event_id))
    await bench.dead_letters(1)
    letters = bench.operations.dead_letters
    with pytest.raises(MalformedEvent):
        await letters.edit_and_retry(str(event_id), json.dumps({**body, "data": {}}), who=OPERATOR)
    await bench.dead_letters(1)
    mended = json.dumps({**body, "id": str(event_id), "data": {**data, "size_bytes": 7}})
    before = await letters.edit_and_retry(str(event_id), mended, who=OPERATOR)
    assert "many" in before.body
    await eventually(lambda: [event.data.size_bytes for event in bench.seen] == [7])
    await bench.dead_letters(0)
    [entry] = [e for e in await bench.operations.audit.newest(limit=5) if "edit" in e.action]
    assert (entry.who, entry.filter["after"]) == (OPERATOR, mended)
    assert "many" in entry.filter["before"]


async def test_a_message_that_nobody_can_decode_is_worked_around(bench: Bench) -> None:
    bench.handler = refuse
    await bench.publish(b"\xff\x00 no JSON", message_id="a[/b]\x1b[2J", correlation_id="c")
    [event_id] = await bench.publish_events(deleted())
    await bench.dead_letters(2)
    odd = await bench.operations.dead_letters.fetch("a[/b]\x1b[2J", consumer=QUEUE.name)
    assert (odd.error_code, odd.body) == ("malformed_event", "\ufffd\0 no JSON")
    bench.handler = None
    retried = await bench.operations.dead_letters.retry(Selection(ids=(str(event_id),)), who=OPERATOR)
    assert retried == 1
    await eventually(lambda: bench.ids() == [event_id])
    selection = Selection(ids=("a[/b]\x1b[2J",))
    assert await bench.operations.dead_letters.discard(selection, why="odd", who=OPERATOR) == 1
    await bench.dead_letters(0)


async def test_a_consumer_that_never_ran_has_no_dead_letters(bench: Bench) -> None:
    await bench.channel.queue_delete(f"{QUEUE.name}.dead-letters")
    try:
        assert await bench.operations.dead_letters.groups(QUEUE.name) == []
    finally:
        await bench.declare()
