"""The scheduler's promises, against simulated links and a simulated clock."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.jettythunder_client.simulation import MB, Link, Simulation, chunks

from jettythunder_client.scheduler import Limits, Scheduler

UNEQUAL = {"a": 12 * MB, "b": 8 * MB, "c": 5 * MB, "d": 3 * MB, "e": 2 * MB}


def unequal(**changes: Link) -> dict[str, Link]:
    return {name: changes.get(name, Link(rate)) for name, rate in UNEQUAL.items()}


def test_unequal_edges_are_used_to_nine_tenths_of_their_sum() -> None:
    run = Simulation(unequal(), chunks(100)).run()
    assert sum(run.chunks.values()) / run.available_bytes() > 0.9


def test_an_edge_gets_work_in_proportion_to_what_it_carries() -> None:
    run = Simulation(unequal(), chunks(200)).run()
    total = sum(run.by_edge.values())
    for name, rate in UNEQUAL.items():
        share = rate / sum(UNEQUAL.values())
        assert run.by_edge[name] / total == pytest.approx(share, rel=0.35), name


def test_an_edge_that_stalls_and_one_that_dies_cost_little() -> None:
    links = unequal(d=Link(3 * MB, stalls_at=4.0), c=Link(5 * MB, dies_at=6.0))
    run = Simulation(links, chunks(100)).run()
    assert sum(run.chunks.values()) / run.available_bytes() > 0.85


def test_chunks_of_a_dead_edge_are_sent_over_the_others() -> None:
    links = {"a": Link(4 * MB), "b": Link(4 * MB, dies_at=0.5)}
    run = Simulation(links, chunks(20)).run()
    assert set(run.acknowledged) == set(run.chunks)
    assert run.by_edge["a"] >= 0.9 * sum(run.chunks.values())


def test_an_edge_that_comes_back_is_used_again() -> None:
    links = {"a": Link(2 * MB), "b": Link(8 * MB, dies_at=1.0, returns_at=6.0)}
    run = Simulation(links, chunks(80)).run()
    assert run.by_edge["b"] > 0.4 * sum(run.chunks.values())


def test_a_window_grows_again_after_a_failure() -> None:
    link = Link(6 * MB, per_connection=1 * MB, dies_at=8.0, returns_at=8.1)
    run = Simulation({"a": link}, chunks(40), limits=Limits(first_parallel=6))
    edge = run.scheduler.edges["a"]
    while run.now < 8.2:
        run.step()
    assert edge.window.size == 3
    while run.now < 20:
        run.step()
    assert edge.window.size >= 6


def test_all_edges_gone_for_a_while_lose_nothing() -> None:
    links = {name: Link(5 * MB, dies_at=2.0, returns_at=9.0) for name in "ab"}
    run = Simulation(links, chunks(30)).run(until_seconds=60)
    assert set(run.acknowledged) == set(run.chunks)


def test_a_dead_edge_is_tried_with_one_chunk_at_a_time() -> None:
    links = {"a": Link(1 * MB), "b": Link(8 * MB, dies_at=1.0)}
    run = Simulation(links, chunks(30))
    while run.now < 10:
        run.step()
        if run.now > 2:
            assert run.scheduler.edges["b"].in_flight <= 1


def test_parallelism_grows_until_the_link_is_full() -> None:
    run = Simulation({"a": Link(16 * MB, per_connection=0.8 * MB)}, chunks(100)).run()
    assert 17 <= run.most_in_flight <= 32
    assert sum(run.chunks.values()) / run.available_bytes() > 0.6


def test_parallelism_stays_small_where_more_does_not_help() -> None:
    run = Simulation({"a": Link(8 * MB)}, chunks(100)).run()
    assert run.most_in_flight <= 20
    assert run.scheduler.edges["a"].window.size <= 13


def test_connections_that_carried_no_more_are_taken_back() -> None:
    run = Simulation({"a": Link(2 * MB)}, chunks(60), limits=Limits(first_parallel=4))
    edge = run.scheduler.edges["a"]
    while run.most_in_flight <= 4:
        run.step()
    grown_at = run.now
    while edge.in_flight > 4:
        run.step()
    # A chunk takes ten seconds with four connections: none of them has ended by now.
    assert run.now - grown_at < 5
    run.run()
    assert run.acknowledged == dict.fromkeys(run.chunks, 1)


def test_edges_behind_one_uplink_fill_it_to_the_end() -> None:
    links = {name: Link(6 * MB, per_connection=1.5 * MB) for name in "abc"}
    run = Simulation(links, chunks(41), uplink=6 * MB).run()
    assert sum(run.chunks.values()) / run.available_bytes() > 0.98


def test_a_line_that_takes_many_connections_is_full_until_the_end() -> None:
    links = {name: Link(10 * MB, per_connection=1.5 * MB) for name in "abc"}
    run = Simulation(links, chunks(41), uplink=10 * MB, latency_seconds=0.3).run()
    assert sum(run.chunks.values()) / run.available_bytes() > 0.98


def test_a_straggler_is_overtaken() -> None:
    stragglers = frozenset({30, 31, 32, 33})
    links = {"a": Link(8 * MB, slow_numbers=stragglers), "b": Link(8 * MB)}
    run = Simulation(links, chunks(60)).run()
    assert sum(run.sent[number] for number in stragglers) > len(stragglers)
    assert run.now < 1.3 * sum(run.chunks.values()) / (16 * MB) + 2


def test_an_overdue_answer_is_overtaken_too() -> None:
    late = frozenset({20, 21, 22, 23})
    links = {"a": Link(8 * MB, late_numbers=late), "b": Link(8 * MB)}
    run = Simulation(links, chunks(60)).run()
    assert sum(run.sent[number] for number in late) > len(late)
    assert run.now < 1.3 * sum(run.chunks.values()) / (16 * MB) + 2


@pytest.mark.parametrize("stalls_at", [1.0, 2.0, 3.0, 4.0, 5.0])
def test_no_chunk_waits_for_an_edge_that_swallowed_them_all(stalls_at: float) -> None:
    silent = Link(3 * MB, stalls_at=stalls_at, buffer_bytes=6 * MB)
    run = Simulation({"a": Link(3 * MB), "b": silent, "c": Link(3 * MB)}, chunks(16)).run()
    assert run.now < sum(run.chunks.values()) / (6 * MB) + 6


def test_hedging_stays_within_its_budget() -> None:
    slow = frozenset(range(1, 101))
    links = {"a": Link(8 * MB, slow_numbers=slow), "b": Link(4 * MB)}
    run = Simulation(links, chunks(100), limits=Limits(hedge_share=0.05)).run(until_seconds=3000)
    assert run.scheduler.hedged_bytes <= 0.05 * sum(run.chunks.values())


def test_steady_edges_cause_no_second_attempts_before_the_end() -> None:
    run = Simulation(unequal(), chunks(100))
    while run.scheduler.upcoming(1):
        run.step()
    assert run.hedges == 0


def test_at_the_end_the_only_edge_is_given_no_chunk_twice_that_is_not_late() -> None:
    scheduler = Scheduler(chunks(8), {"a": 0.01}, limits=Limits(), spread=lambda: 0.0)
    *others, last = scheduler.assign(0.0)
    for attempt in others:
        scheduler.succeeded(attempt, 0.2)
    scheduler.progressed(last, last.size_bytes // 10, 0.3)
    assert scheduler.assign(0.3) == []


def test_a_busy_edge_is_left_alone_for_as_long_as_it_asks() -> None:
    scheduler = Scheduler(chunks(4), {"a": 0.01}, limits=Limits(), spread=lambda: 0.0)
    attempt = scheduler.assign(0.0, at_most=1)[0]
    scheduler.failed(attempt, 0.5, retry_after_seconds=7.0)
    assert scheduler.assign(7.4) == []
    assert len(scheduler.assign(7.6)) == 1


def test_connections_that_break_together_are_one_failure() -> None:
    scheduler = Scheduler(chunks(8), {"a": 0.01}, limits=Limits(), spread=lambda: 0.0)
    for attempt in scheduler.assign(0.0):
        scheduler.failed(attempt, 1.0)
    assert scheduler.edges["a"].failures == 1


def test_a_chunk_that_failed_on_an_edge_goes_to_another() -> None:
    scheduler = Scheduler(chunks(1), {"a": 0.01, "b": 0.02}, limits=Limits(), spread=lambda: 0.0)
    first = scheduler.assign(0.0)[0]
    scheduler.failed(first, 1.0)
    second = scheduler.assign(100.0)[0]
    assert second.edge != first.edge


def test_a_chunk_that_the_fastest_edge_spoilt_does_not_wait_for_it() -> None:
    edges = {"fast": 0.01, "slow": 0.01, "slower": 0.01}
    scheduler = Scheduler(chunks(12), edges, limits=Limits(), spread=lambda: 0.0)
    seconds = {"fast": 1.0, "slow": 8.0, "slower": 9.0}
    sent = scheduler.assign(0.0)
    spoilt = next(attempt for attempt in sent if attempt.edge == "fast")
    scheduler.failed(spoilt, 0.5)
    now = 1.0
    while scheduler.in_flight:
        attempt = min(scheduler.in_flight, key=lambda one: one.started_at + seconds[one.edge])
        now = max(now, attempt.started_at + seconds[attempt.edge])
        scheduler.progressed(attempt, attempt.size_bytes, now)
        scheduler.succeeded(attempt, now)
        if scheduler.upcoming(2) != [spoilt.number]:
            scheduler.assign(now)
    # The chunk alone is left, nothing is on its way, and the fast edge is well again.
    assert scheduler.upcoming(2) == [spoilt.number]
    assert scheduler.assign(now)[0].edge == "slow"


def test_a_chunk_wholly_in_the_buffers_of_a_stalled_edge_is_not_waited_for() -> None:
    links = {"a": Link(4 * MB), "b": Link(4 * MB), "c": Link(1 * MB, stalls_at=5.0, buffer_bytes=4 * MB)}
    run = Simulation(links, chunks(30)).run()
    assert run.now < 1.3 * sum(run.chunks.values()) / (8 * MB)


@settings(max_examples=60)
@given(data=st.data())
def test_whatever_links_do_every_chunk_is_acknowledged_once_and_limits_hold(data: st.DataObject) -> None:
    never = st.just(math.inf)
    links = {"steady": Link(data.draw(st.floats(0.5, 20)) * MB)}
    for name in data.draw(st.sets(st.sampled_from("abcd"))):
        dies_at = data.draw(never | st.floats(0, 10))
        away_seconds = data.draw(never | st.floats(0, 10))
        links[name] = Link(
            rate=data.draw(st.floats(0.1, 20)) * MB,
            per_connection=data.draw(never | st.floats(0.1, 5).map(lambda mb: mb * MB)),
            stalls_at=data.draw(never | st.floats(0, 10)),
            dies_at=dies_at,
            returns_at=dies_at + away_seconds,
            refuses_until=data.draw(st.floats(0, 3)),
            spoils=data.draw(st.frozensets(st.integers(1, 40))),
        )
    sizes = data.draw(st.lists(st.integers(1, 8 * MB), min_size=1, max_size=40))
    limits = Limits(max_parallel=data.draw(st.integers(1, 32)))
    run = Simulation(links, dict(enumerate(sizes, start=1)), limits=limits).run(until_seconds=5000)
    assert run.acknowledged == dict.fromkeys(run.chunks, 1)
    assert run.most_in_flight <= limits.max_parallel
    assert max(run.sent.values()) <= 40
    assert all(edge.in_flight == 0 for edge in run.scheduler.edges.values())
    assert run.scheduler.acknowledged_bytes == sum(sizes)
