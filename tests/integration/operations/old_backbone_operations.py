"""What ops do with events: look, trace, replay and work on dead letters, also from the command line."""

from __future__ import annotations

import asyncio
import json
from uuid import UUID, uuid4

import aio_pika
import pytest
from jettythunder.operations import Replay, Selection
from tests.integration.backbone.conftest import QUEUE, SOURCE, Bench, deleted
from tests.integration.backbone.test_failures import dead_letters
from tests.support.commands import OPERATOR, jettythunder
from tests.support.infrastructure import Infrastructure
from tests.support.waiting import eventually

from chunk_worker.messages import CHUNK_WORKER_COMMANDS
from jettythunder import outbox, telemetry
from jettythunder.broker import topology
from jettythunder.broker.event_log import EventFilter
from jettythunder.contracts.assets import AssetDeletedV1
from jettythunder.contracts.envelope import Event
from jettythunder.errors import (
    AccountNotFound,
    ConsumerHasNoLog,
    ConsumerNotFound,
    MalformedEvent,
    ReplayNotResumable,
)


def of(event_ids: list[UUID]) -> EventFilter:
    """These events, and not those that other tests left in the log."""
    return EventFilter(ids=tuple(map(str, event_ids)))


async def refuse(_: Event[AssetDeletedV1]) -> None:
    """A handler that fails for good."""
    raise AccountNotFound


async def processed(bench: Bench, count: int) -> list[UUID]:
    """Events that were committed, logged and processed."""
    event_ids = await bench.commit(*(deleted() for _ in range(count)))
    await eventually(lambda: set(bench.ids()) == set(event_ids))
    return event_ids


async def test_a_dry_run_tells_what_is_new_to_the_consumer(bench: Bench) -> None:
    event_ids = await processed(bench, 5)
    await bench.pool.execute("DELETE FROM inbox WHERE event_id = ANY ($1)", event_ids[:2])
    counted = await bench.operations.replays.count(QUEUE.name, of(event_ids))
    assert (counted.events, counted.new, counted.processed_before) == (5, 2, 3)


async def test_a_replay_gives_the_consumer_what_it_missed_and_repeats_nothing(bench: Bench) -> None:
    event_ids = await processed(bench, 20)
    missed = event_ids[:7]
    await bench.pool.execute("DELETE FROM inbox WHERE event_id = ANY ($1)", missed)
    bench.seen.clear()
    replays = bench.operations.replays
    done = await replays.run(await replays.begin(QUEUE.name, of(event_ids), who=OPERATOR, rate=None))
    assert (done.status, done.replayed_count) == ("completed", 20)
    await eventually(lambda: set(bench.ids()) == set(missed))
    log = await bench.operations.audit.newest(limit=1)
    assert (log[0]["who"], log[0]["action"]) == (OPERATOR, "events replay")
    assert log[0]["result"]["replayed"] == 20


async def test_a_replay_reaches_one_consumer_alone(bench: Bench) -> None:
    event_ids = await processed(bench, 3)
    other = await bench.channel.declare_queue("other-consumer", exclusive=True)
    await other.bind(topology.EVENTS, "#")
    replays = bench.operations.replays
    await replays.run(await replays.begin(QUEUE.name, of(event_ids), who=OPERATOR, rate=None))
    [later] = await bench.commit(deleted())
    await eventually(lambda: later in bench.ids())
    message = await other.get(timeout=10)
    assert message.message_id == str(later)


async def test_a_replay_that_was_cut_off_goes_on_where_it_was(bench: Bench) -> None:
    event_ids = await processed(bench, 30)
    replays = bench.operations.replays
    begun = await replays.begin(QUEUE.name, of(event_ids), who=OPERATOR, rate=40)
    under_way = asyncio.Event()

    def on_progress(now: Replay) -> None:
        if now.replayed_count >= 4:
            under_way.set()

    running = asyncio.create_task(replays.run(begun, on_progress))
    await under_way.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    cut = await replays.fetch(begun.id)
    assert cut.status == "interrupted"
    assert 4 <= cut.replayed_count < 30
    done = await replays.run(await replays.resume(begun.id, who=OPERATOR))
    assert (done.status, done.replayed_count) == ("completed", 30)
    with pytest.raises(ReplayNotResumable):
        await replays.resume(begun.id, who=OPERATOR)


async def test_a_rate_is_kept(bench: Bench) -> None:
    event_ids = await processed(bench, 30)
    replays = bench.operations.replays
    began = asyncio.get_running_loop().time()
    await replays.run(await replays.begin(QUEUE.name, of(event_ids), who=OPERATOR, rate=30))
    assert asyncio.get_running_loop().time() - began >= 0.9


async def test_only_known_consumers_of_events_can_be_replayed_to(bench: Bench) -> None:
    with pytest.raises(ConsumerNotFound):
        await bench.operations.replays.count("nobody", EventFilter())
    with pytest.raises(ConsumerHasNoLog):
        await bench.operations.replays.count(CHUNK_WORKER_COMMANDS.name, EventFilter())


async def test_the_log_is_filtered_by_type_account_and_correlation(bench: Bench) -> None:
    account_id = uuid4()
    with telemetry.correlated("trace-me"):
        wanted = await bench.commit(deleted(account_id))
    await bench.commit(deleted())
    await eventually(lambda: len(bench.seen) == 2)
    for filter_ in (
        EventFilter(account=str(account_id)),
        EventFilter(types=("*.deleted.v1",), subject=str(account_id)),
        EventFilter(correlation_id="trace-me", account=str(account_id)),
    ):
        found = [e.event.id async for e in bench.operations.log.read() if e.event and filter_.takes(e.event)]
        assert found == wanted, filter_
    nothing = EventFilter(types=("agentcache.*",), account=str(account_id))
    assert not [e async for e in bench.operations.log.read() if e.event and nothing.takes(e.event)]


async def test_the_logs_end_is_found_while_events_come(bench: Bench) -> None:
    exchange = await bench.channel.get_exchange(topology.EVENTS, ensure=False)

    async def publish_on() -> None:
        while True:
            await exchange.publish(aio_pika.Message(b"{}"), "only.the.log.takes.this")

    async with asyncio.TaskGroup() as group:
        publishing = [group.create_task(publish_on()) for _ in range(5)]
        async with asyncio.timeout(20):
            ends = [await bench.operations.log.end() for _ in range(50)]
        for task in publishing:
            task.cancel()
    assert ends == sorted(set(ends))


async def test_a_trace_is_the_tree_of_what_caused_what(bench: Bench) -> None:
    correlation = uuid4().hex
    with telemetry.correlated(correlation):
        [root] = await bench.commit(deleted())
    with telemetry.correlated(correlation, str(root)):
        children = await bench.commit(deleted(), deleted())
    with telemetry.correlated(correlation, str(children[0])):
        [grandchild] = await bench.commit(deleted())
    await eventually(lambda: len(bench.seen) == 4)
    [tree] = await bench.operations.trace(correlation)
    assert tree.id == str(root)
    assert {child.id for child in tree.children} == set(map(str, children))
    grandchildren = {n.id for child in tree.children for n in child.children}
    assert grandchildren == {str(grandchild)}


async def test_looking_at_dead_letters_takes_none_away(bench: Bench) -> None:
    bench.handler = refuse
    event_ids = await bench.commit(deleted(), deleted())
    await dead_letters(bench, 2)
    looks = await asyncio.gather(*(bench.operations.dead_letters.all(QUEUE.name) for _ in range(3)))
    for look in looks:
        assert {letter.message_id for letter in look} == set(map(str, event_ids))


async def test_retrying_a_group_leaves_the_others(bench: Bench) -> None:
    bench.handler = refuse
    event_ids = await bench.commit(deleted(), deleted())
    malformed = await bench.publish({"specversion": "1.0"})
    await dead_letters(bench, 3)
    groups = await bench.operations.dead_letters.groups(QUEUE.name)
    assert [(g.count, g.error_code) for g in groups] == [(2, "account_not_found"), (1, "malformed_event")]
    bench.handler = None
    selection = Selection(fingerprint=groups[0].fingerprint)
    assert await bench.operations.dead_letters.retry(selection, who=OPERATOR) == 2
    await eventually(lambda: set(bench.ids()) == set(event_ids))
    [left] = await dead_letters(bench, 1)
    assert left.message_id == malformed


async def test_an_edited_dead_letter_is_processed_and_audited(bench: Bench) -> None:
    event_id, body = uuid4(), {"specversion": "1.0", "source": "/x", "type": AssetDeletedV1.TYPE}
    data = {"account_id": str(uuid4()), "asset_id": str(uuid4()), "size_bytes": "many", "reason": "request"}
    await bench.publish({**body, "id": str(event_id), "data": data}, message_id=str(event_id))
    await dead_letters(bench, 1)
    letters = bench.operations.dead_letters
    with pytest.raises(MalformedEvent):
        await letters.edit_and_retry(str(event_id), json.dumps({**body, "data": {}}), who=OPERATOR)
    await dead_letters(bench, 1)
    mended = json.dumps({**body, "id": str(event_id), "data": {**data, "size_bytes": 7}})
    await letters.edit_and_retry(str(event_id), mended, who=OPERATOR)
    await eventually(lambda: [event.data.size_bytes for event in bench.seen] == [7])
    await dead_letters(bench, 0)
    [entry] = [e for e in await bench.operations.audit.newest(limit=5) if "edit" in e["action"]]
    assert (entry["who"], entry["filter"]["after"]) == (OPERATOR, mended)
    assert "many" in entry["filter"]["before"]


async def test_discarding_needs_a_reason_and_keeps_it(
    bench: Bench, backbone_infrastructure: Infrastructure
) -> None:
    bench.handler = refuse
    [event_id] = await bench.commit(deleted())
    await dead_letters(bench, 1)
    without = ("dead-letters", "discard", str(event_id), "--yes", "--json")
    assert (await jettythunder(backbone_infrastructure.environment, *without))[0] == 2
    code, told = await jettythunder(backbone_infrastructure.environment, *without, "--why", "a test account")
    assert (code, json.loads(told)) == (0, {"discarded": 1})
    await dead_letters(bench, 0)
    [entry] = await bench.operations.audit.newest(limit=1)
    assert (entry["who"], entry["filter"]["why"], entry["result"]["ids"]) == (
        OPERATOR,
        "a test account",
        [str(event_id)],
    )


async def test_the_command_line_replays_and_tells_as_json(
    bench: Bench, backbone_infrastructure: Infrastructure
) -> None:
    event_ids = await processed(bench, 3)
    chosen = [part for event_id in event_ids for part in ("--id", str(event_id))]
    command = ("events", "replay", "--to", QUEUE.name, *chosen, "--json")
    code, told = await jettythunder(backbone_infrastructure.environment, *command, "--dry-run")
    assert (code, json.loads(told)["events"], json.loads(told)["new"]) == (0, 3, 0)
    code, told = await jettythunder(backbone_infrastructure.environment, *command, "--rate", "1000/s")
    assert (code, json.loads(told)["status"], json.loads(told)["replayed_count"]) == (0, "completed", 3)


async def test_the_command_line_tells_who_replayed_what(
    bench: Bench, backbone_infrastructure: Infrastructure
) -> None:
    event_ids = await processed(bench, 2)
    replays = bench.operations.replays
    done = await replays.run(await replays.begin(QUEUE.name, of(event_ids), who="somebody", rate=None))
    for command, audited in (("replays", {"who": "somebody"}), ("audit", {"action": "events replay"})):
        code, told = await jettythunder(backbone_infrastructure.environment, "events", command, "--json")
        [entry] = json.loads(told)
        assert (code, entry) == (0, {**entry, **audited})
    assert (entry["result"]["replay"], entry["result"]["replayed"]) == (str(done.id), 2)
    code, told = await jettythunder(backbone_infrastructure.environment, "events", "replays")
    assert (code, str(done.id) in told, "completed" in told) == (0, True, True)


async def test_the_command_line_shows_an_event_and_who_processed_it(
    bench: Bench, backbone_infrastructure: Infrastructure
) -> None:
    [event_id] = await processed(bench, 1)
    code, told = await jettythunder(
        backbone_infrastructure.environment, "events", "show", str(event_id), "--json"
    )
    shown = json.loads(told)
    assert (code, shown["event"]["id"]) == (0, str(event_id))
    assert [entry["consumer"] for entry in shown["processed"]] == [QUEUE.name]


async def test_the_command_line_tails_the_log(bench: Bench, backbone_infrastructure: Infrastructure) -> None:
    account_id = uuid4()
    await bench.commit(deleted(account_id), deleted(account_id))
    await eventually(lambda: len(bench.seen) == 2)
    command = ("events", "tail", "--account", str(account_id), "--from", "first", "--no-follow", "--json")
    code, told = await jettythunder(backbone_infrastructure.environment, *command)
    lines = [json.loads(line) for line in told.splitlines()]
    assert code == 0
    assert sorted(line["event"]["id"] for line in lines) == sorted(map(str, bench.ids()))


async def test_an_event_that_is_not_there_is_said_so(
    bench: Bench, backbone_infrastructure: Infrastructure
) -> None:
    code, told = await jettythunder(
        backbone_infrastructure.environment, "events", "show", str(uuid4()), "--json"
    )
    assert (code, json.loads(told)["code"]) == (1, "event_not_found")


async def test_an_event_published_twice_counts_once_as_new(bench: Bench) -> None:
    rows = outbox.rows(deleted(), source=SOURCE)
    for _ in range(2):
        async with bench.pool.acquire() as connection:
            await outbox.write_rows(connection, rows)
    await eventually(lambda: bench.ids() == rows.event_ids)
    await bench.pool.execute("DELETE FROM inbox")

    async def logged_twice() -> bool:
        counted = await bench.operations.replays.count(QUEUE.name, of(rows.event_ids))
        assert (counted.events, counted.new) == (2, 1)
        return True

    await eventually(logged_twice)
