"""Operators' commands: through the service, and directly where it can't be reached."""

from __future__ import annotations

import json
from collections.abc import Mapping
from uuid import uuid4

from tests.integration.operations.conftest import NOWHERE, OPERATOR, QUEUE, Bench, deleted, of, refuse
from tests.support.commands import jettythunder, output_of
from tests.support.waiting import eventually


async def test_discarding_needs_a_reason_and_keeps_it(
    bench: Bench, commands_environment: Mapping[str, str]
) -> None:
    bench.handler = refuse
    [event_id] = await bench.publish_events(deleted())
    await bench.dead_letters(1)
    without = ("dead-letters", "discard", str(event_id), "--yes", "--json")
    assert (await jettythunder(commands_environment, *without))[0] == 2
    code, told = await jettythunder(commands_environment, *without, "--why", "a test account")
    assert (code, json.loads(told)) == (0, {"discarded": 1})
    await bench.dead_letters(0)
    [entry] = await bench.operations.audit.newest(limit=1)
    by = "direct" if commands_environment["JETTYTHUNDER_OPERATIONS_URL"] == NOWHERE else "operator"
    assert (entry.who, entry.filter["why"], (entry.result or {})["ids"]) == (
        f"{by} ({OPERATOR})",
        "a test account",
        [str(event_id)],
    )


async def test_the_command_line_replays_and_tells_as_json(
    bench: Bench, commands_environment: Mapping[str, str]
) -> None:
    event_ids = await bench.processed(3)
    chosen = [part for event_id in event_ids for part in ("--id", str(event_id))]
    command = ("events", "replay", "--to", QUEUE.name, *chosen, "--json")
    code, told = await jettythunder(commands_environment, *command, "--dry-run")
    assert (code, json.loads(told)["events"], json.loads(told)["new"]) == (0, 3, 0)
    code, told = await jettythunder(commands_environment, *command, "--rate", "1000/s")
    assert (code, json.loads(told)["status"], json.loads(told)["replayed_count"]) == (0, "completed", 3)


async def test_the_command_line_tells_who_replayed_what(
    bench: Bench, commands_environment: Mapping[str, str]
) -> None:
    event_ids = await bench.processed(2)
    replays = bench.operations.replays
    done = await replays.run(await replays.begin(QUEUE.name, of(event_ids), who="somebody", rate=None))
    for command, audited in (("replays", {"who": "somebody"}), ("audit", {"action": "events replay"})):
        code, told = await jettythunder(commands_environment, "events", command, "--json")
        [entry] = json.loads(told)
        assert (code, entry) == (0, {**entry, **audited})
    assert (entry["result"]["replay"], entry["result"]["replayed"]) == (str(done.id), 2)
    code, told = await jettythunder(commands_environment, "events", "replays")
    assert (code, str(done.id) in told, "completed" in told) == (0, True, True)


async def test_the_command_line_shows_an_event_and_who_processed_it(
    bench: Bench, commands_environment: Mapping[str, str]
) -> None:
    [event_id] = await bench.processed(1)
    code, told = await jettythunder(commands_environment, "events", "show", str(event_id), "--json")
    shown = json.loads(told)
    assert (code, shown["event"]["id"]) == (0, str(event_id))
    assert [entry["consumer"] for entry in shown["processed"]] == [QUEUE.name]


async def test_the_command_line_tails_the_log(bench: Bench, commands_environment: Mapping[str, str]) -> None:
    account_id = uuid4()
    await bench.publish_events(deleted(account_id), deleted(account_id))
    await eventually(lambda: len(bench.seen) == 2)
    command = ("events", "tail", "--account", str(account_id), "--from", "first", "--no-follow", "--json")
    code, told = await jettythunder(commands_environment, *command)
    lines = [json.loads(line) for line in told.splitlines()]
    assert code == 0
    assert sorted(line["event"]["id"] for line in lines) == sorted(map(str, bench.ids()))


async def test_an_event_that_is_not_there_is_said_so(
    bench: Bench, commands_environment: Mapping[str, str]
) -> None:
    code, told = await jettythunder(commands_environment, "events", "show", str(uuid4()), "--json")
    assert (code, json.loads(told)["code"]) == (1, "event_not_found")


async def test_a_dead_letter_is_listed_shown_edited_and_retried(
    bench: Bench, commands_environment: Mapping[str, str]
) -> None:
    bench.handler = refuse
    [event_id] = await bench.publish_events(deleted())
    await bench.dead_letters(1)
    bench.handler = None
    code, told = await jettythunder(commands_environment, "dead-letters", "list", "--json")
    [group] = json.loads(told)
    assert (code, group["count"], group["example_id"]) == (0, 1, str(event_id))
    code, told = await jettythunder(commands_environment, "dead-letters", "show", str(event_id), "--json")
    assert (code, json.loads(told)["error_code"]) == (0, "account_not_found")
    edit = ("dead-letters", "edit-and-retry", str(event_id), "--set", "data.size_bytes=9", "--yes", "--json")
    code, told = await jettythunder(commands_environment, *edit)
    assert (code, json.loads(told)) == (0, {"retried": 1})
    await eventually(lambda: [event.data.size_bytes for event in bench.seen] == [9])
    code, told = await jettythunder(commands_environment, "dead-letters", "retry", "--all", "--json")
    assert (code, json.loads(told)) == (0, {"retried": 0})


async def test_a_request_is_traced(bench: Bench, commands_environment: Mapping[str, str]) -> None:
    [event_id] = await bench.processed(1)
    code, told = await jettythunder(commands_environment, "events", "trace", str(event_id), "--json")
    [root] = json.loads(told)
    assert (code, root["id"]) == (0, str(event_id))


async def test_working_without_the_service_is_said_so(
    bench: Bench, commands_environment: Mapping[str, str]
) -> None:
    url = commands_environment["JETTYTHUNDER_OPERATIONS_URL"]
    code, out, complaint = await output_of(commands_environment, "dead-letters", "list", "--json")
    assert (code, json.loads(out)) == (0, [])
    if url == NOWHERE:
        [line] = complaint.splitlines()
        assert line.endswith(
            f"The operations service at {url} can't be reached: "
            "working directly on DATABASE_URL and RABBITMQ_URL."
        )
    else:
        assert complaint == ""
