"""Counting, pacing and resuming replays."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from tests.unit.operations.fakes import (
    CONSUMERS,
    MAKER,
    METER,
    NOW,
    FakeClock,
    FakeEntries,
    FakeInboxes,
    FakeLog,
    FakePublisher,
    FakeReplays,
    logged,
    uuid7,
)

from jettythunder.broker.event_log import EventFilter, Offset, place_before
from jettythunder.errors import BrokerUnavailable
from operations.audit import Audit
from operations.errors import ConsumerHasNoLog, ConsumerNotFound, ReplayNotResumable, ReplayTakenOver
from operations.pacing import Pace
from operations.replays import HeldReplay, Replay, Replays, ReplayStatus, RunningReplays
from operations.replays.model import HEARTBEAT_SECONDS, SILENT_SECONDS

WHO = "tester"
AHEAD = NOW + timedelta(days=1)


class Bench:
    """The use-cases on a log in memory."""

    def __init__(self, count: int, clock: FakeClock | None = None) -> None:
        self.log = FakeLog([logged(offset) for offset in range(count)])
        self.inboxes = FakeInboxes()
        self.kept = FakeReplays()
        self.publisher = FakePublisher()
        self.entries = FakeEntries()
        self.clock = clock or FakeClock()
        self.replays = Replays(
            consumers=CONSUMERS,
            log=self.log,
            inboxes=self.inboxes,
            kept=self.kept,
            publisher=self.publisher,
            audit=Audit(self.entries),
            clock=self.clock,
        )

    async def begin(self, rate: float | None = None, *, wanted: EventFilter | None = None) -> HeldReplay:
        return await self.replays.begin(METER.name, wanted or EventFilter(), who=WHO, rate=rate)


async def test_a_count_tells_new_from_processed_and_counts_an_event_once() -> None:
    bench = Bench(3)
    bench.log.events += [bench.log.events[0], logged(4, decodable=False)]
    known = bench.log.events[1].event
    assert known is not None
    bench.inboxes.known.add(known.id)
    counted = await bench.replays.count(METER.name, EventFilter())
    assert counted.model_dump() == {"events": 4, "new": 2, "processed_before": 2, "undecodable": 1}


async def test_only_consumers_of_events_can_be_replayed_to() -> None:
    bench = Bench(0)
    with pytest.raises(ConsumerNotFound):
        await bench.replays.count("nobody", EventFilter())
    with pytest.raises(ConsumerHasNoLog):
        await bench.replays.count(MAKER.name, EventFilter())


async def test_a_replay_delivers_everything_and_is_completed() -> None:
    bench = Bench(2300)
    told: list[int] = []
    done = await bench.replays.run(await bench.begin(), lambda now: told.append(now.replayed_count))
    assert (done.status, done.replayed_count, done.next_offset) == (ReplayStatus.COMPLETED, 2300, 2300)
    assert told == [1000, 2000, 2300]
    assert len(bench.publisher.published) == 2300
    entry = bench.entries.entries[1]
    assert entry.result is not None
    assert (entry.result["status"], entry.result["replayed"]) == ("completed", 2300)


async def test_a_replay_delivers_nothing_that_its_consumer_has_processed() -> None:
    bench = Bench(3)
    known = bench.log.events[1].event
    assert known is not None
    bench.inboxes.known.add(known.id)
    done = await bench.replays.run(await bench.begin())
    assert (done.replayed_count, done.processed_before_count) == (3, 1)
    assert bench.publisher.published == [bench.log.events[0].message_id, bench.log.events[2].message_id]


@pytest.mark.parametrize(
    ("clock_runs_ahead", "starts"), [(False, [place_before(NOW)]), (True, [place_before(AHEAD), "first"])]
)
async def test_for_events_by_id_the_log_is_read_from_their_time_on(
    clock_runs_ahead: bool, starts: list[Offset]
) -> None:
    bench = Bench(3)
    event_id = uuid7(AHEAD if clock_runs_ahead else NOW)
    bench.log.events += [logged(3, event_id=event_id), logged(4)]
    wanted = EventFilter(ids=(str(event_id),))
    assert (await bench.replays.count(METER.name, wanted)).events == 1
    done = await bench.replays.run(await bench.begin(wanted=wanted))
    assert bench.publisher.published == [str(event_id)]
    assert (done.status, done.replayed_count) == (ReplayStatus.COMPLETED, 1)
    assert bench.log.starts == starts * 2


async def test_a_rate_is_that_of_the_events_delivered() -> None:
    bench = Bench(30)
    bench.inboxes.known |= {each.event.id for each in bench.log.events[:20] if each.event}
    await bench.replays.run(await bench.begin(rate=10))
    assert bench.clock.seconds == pytest.approx(1)


async def test_a_replay_that_lost_the_broker_goes_on_where_it_was() -> None:
    bench = Bench(1500)
    bench.publisher.fails_at = 1200
    held = await bench.begin()
    with pytest.raises(BrokerUnavailable):
        await bench.replays.run(held)
    cut = await bench.replays.fetch(held.replay.id)
    assert (cut.status, cut.replayed_count) == (ReplayStatus.INTERRUPTED, 1000)
    bench.publisher.fails_at = None
    done = await bench.replays.run(await bench.replays.resume(cut.id, who=WHO))
    assert (done.status, done.replayed_count) == (ReplayStatus.COMPLETED, 1500)
    with pytest.raises(ReplayNotResumable):
        await bench.replays.resume(cut.id, who=WHO)


async def test_a_replay_by_ids_that_was_cut_off_finds_what_lies_before_the_times_in_them() -> None:
    bench = Bench(0)
    early, twice = uuid7(AHEAD), uuid7(AHEAD + timedelta(seconds=1))
    bench.log.events = [logged(0, event_id=early)]
    bench.log.events += [logged(offset, event_id=twice, at=AHEAD) for offset in (1, 2)]
    bench.publisher.fails_at = 2
    held = await bench.begin(rate=1, wanted=EventFilter(ids=(str(early), str(twice))))
    with pytest.raises(BrokerUnavailable):
        await bench.replays.run(held)
    bench.publisher.fails_at = None
    bench.inboxes.known.add(twice)
    done = await bench.replays.run(await bench.replays.resume(held.replay.id, who=WHO))
    assert bench.publisher.published == [str(twice), str(twice), str(early)]
    assert (done.replayed_count, done.processed_before_count) == (3, 2)


async def test_a_slow_replay_says_often_enough_that_it_is_alive() -> None:
    bench = Bench(2)
    await bench.replays.run(await bench.begin(rate=1 / 300))
    # Two events of five minutes each: notes in between, none of them further apart than a heartbeat.
    assert bench.clock.seconds == pytest.approx(600)
    assert max(bench.clock.slept) <= HEARTBEAT_SECONDS < SILENT_SECONDS
    assert len(bench.kept.notes) > 600 / HEARTBEAT_SECONDS


async def test_a_replay_that_was_taken_over_stops() -> None:
    bench = Bench(3000)
    held = await bench.begin()

    def take_over(_: Replay) -> None:
        bench.kept.held[held.replay.id] = HeldReplay(held.replay, audit_id=99)

    with pytest.raises(ReplayTakenOver):
        await bench.replays.run(held, take_over)
    assert len(bench.publisher.published) == 2000
    assert bench.kept.held[held.replay.id].audit_id == 99


async def test_closing_interrupts_the_replays_that_run() -> None:
    waiting = asyncio.Event()

    class StoppedClock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

    bench = Bench(3, StoppedClock())
    held = await bench.begin(rate=1)
    running = RunningReplays(bench.replays)
    running.start(held)
    await waiting.wait()
    await running.close()
    cut = await bench.replays.fetch(held.replay.id)
    assert (cut.status, cut.replayed_count) == (ReplayStatus.INTERRUPTED, 1)


def test_a_pace_spreads_items_and_without_a_rate_waits_for_nothing() -> None:
    clock = FakeClock()
    pace = Pace(40, clock, largest_batch=1000)
    pace.did(pace.batch_size)
    assert (pace.batch_size, pace.due_in_seconds) == (2, 0.05)
    clock.seconds = 10
    assert pace.due_in_seconds == 0
    free = Pace(None, clock, largest_batch=1000)
    free.did(1000)
    assert (free.batch_size, free.due_in_seconds) == (1000, 0)
