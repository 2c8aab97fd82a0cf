"""Replays on a running broker."""

from __future__ import annotations

import asyncio

import pytest
from tests.integration.operations.conftest import OPERATOR, QUEUE, SOURCE, Bench, deleted, of
from tests.support.waiting import eventually

from chunk_worker.messages import CHUNK_WORKER_COMMANDS
from jettythunder.broker import topology
from jettythunder.broker.event_log import EventFilter
from jettythunder.broker.publisher import envelope
from operations.errors import ConsumerHasNoLog, ConsumerNotFound, ReplayNotResumable
from operations.replays import Replay


async def test_a_dry_run_tells_what_is_new_to_the_consumer(bench: Bench) -> None:
    event_ids = await bench.processed(5)
    await bench.forget(event_ids[:2])
    counted = await bench.operations.replays.count(QUEUE.name, of(event_ids))
    assert (counted.events, counted.new, counted.processed_before) == (5, 2, 3)


async def test_a_replay_gives_the_consumer_what_it_missed_and_repeats_nothing(bench: Bench) -> None:
    event_ids = await bench.processed(20)
    missed = event_ids[:7]
    await bench.forget(missed)
    bench.seen.clear()
    replays = bench.operations.replays
    done = await replays.run(await replays.begin(QUEUE.name, of(event_ids), who=OPERATOR, rate=None))
    assert (done.status, done.replayed_count, done.processed_before_count) == ("completed", 20, 13)
    await eventually(lambda: set(bench.ids()) == set(missed))
    log = await bench.operations.audit.newest(limit=1)
    assert (log[0].who, log[0].action) == (OPERATOR, "events replay")
    assert (log[0].result or {})["replayed"] == 20


async def test_a_replay_reaches_one_consumer_alone(bench: Bench) -> None:
    event_ids = await bench.processed(3)
    other = await bench.channel.declare_queue("other-consumer", exclusive=True)
    await other.bind(topology.EVENTS, "#")
    replays = bench.operations.replays
    await replays.run(await replays.begin(QUEUE.name, of(event_ids), who=OPERATOR, rate=None))
    [later] = await bench.publish_events(deleted())
    await eventually(lambda: later in bench.ids())
    message = await other.get(timeout=10)
    assert message.message_id == str(later)


async def test_a_replay_that_was_cut_off_goes_on_where_it_was(bench: Bench) -> None:
    event_ids = await bench.processed(30)
    await bench.forget(event_ids)
    replays = bench.operations.replays
    held = await replays.begin(QUEUE.name, of(event_ids), who=OPERATOR, rate=40)
    under_way = asyncio.Event()

    def on_progress(now: Replay) -> None:
        if now.replayed_count >= 4:
            under_way.set()

    running = asyncio.create_task(replays.run(held, on_progress))
    await under_way.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    cut = await replays.fetch(held.replay.id)
    assert cut.status == "interrupted"
    assert 4 <= cut.replayed_count < 30
    done = await replays.run(await replays.resume(held.replay.id, who=OPERATOR))
    assert (done.status, done.replayed_count) == ("completed", 30)
    with pytest.raises(ReplayNotResumable):
        await replays.resume(held.replay.id, who=OPERATOR)


async def test_a_rate_is_kept(bench: Bench) -> None:
    event_ids = await bench.processed(30)
    await bench.forget(event_ids)
    replays = bench.operations.replays
    began = asyncio.get_running_loop().time()
    await replays.run(await replays.begin(QUEUE.name, of(event_ids), who=OPERATOR, rate=30))
    assert asyncio.get_running_loop().time() - began >= 0.9


async def test_only_known_consumers_of_events_can_be_replayed_to(bench: Bench) -> None:
    with pytest.raises(ConsumerNotFound):
        await bench.operations.replays.count("nobody", EventFilter())
    with pytest.raises(ConsumerHasNoLog):
        await bench.operations.replays.count(CHUNK_WORKER_COMMANDS.name, EventFilter())


async def test_an_event_published_twice_counts_once_as_new(bench: Bench) -> None:
    event = envelope(deleted(), exchange=topology.EVENTS, source=SOURCE)
    for _ in range(2):
        await bench.publish_event(event)
    await eventually(lambda: bench.ids() == [event.id])

    async def logged_twice() -> bool:
        await bench.sql.execute("DELETE FROM inbox")
        counted = await bench.operations.replays.count(QUEUE.name, of([event.id]))
        assert (counted.events, counted.new) == (2, 1)
        return True

    await eventually(logged_twice)
