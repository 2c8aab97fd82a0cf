"""`jettythunder events`: look at the event log, trace what caused what, and replay to one consumer."""

from __future__ import annotations

import json
import textwrap
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.text import Text
from rich.tree import Tree

from jettythunder.broker.event_log import EventFilter
from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import (
    line,
    output,
    print_document,
    print_done,
    print_json,
    print_line,
    progress,
    styled,
)
from jettythunder_cli.frame.table import Table, figures, ids, words
from jettythunder_cli.frame.text import age_text, plain
from jettythunder_operators.operating import moment, pace
from jettythunder_operators.operations import Operations, Place, operating
from operations.events import LoggedEventView, TraceNode
from operations.replays import Replay

_CELL_CHARACTERS = 200

app = typer.Typer(
    help="Look at the event log, trace what caused what, and replay events to one consumer. "
    "Calls the operations service; where it can't be reached, it works on DATABASE_URL and RABBITMQ_URL.",
    no_args_is_help=True,
)

Types = Annotated[
    list[str] | None, typer.Option("--type", help="A type or a pattern such as '*.upload.*'; repeatable.")
]
Account = Annotated[str | None, typer.Option("--account", help="The account's id.")]
Subject = Annotated[str | None, typer.Option("--subject", help="The event's subject.")]
Correlation = Annotated[str | None, typer.Option("--correlation", help="The correlation id.")]
Since = Annotated[
    str | None, typer.Option("--since", help="From this time on: ISO 8601, or an age such as 15m, 2h, 3d.")
]
Until = Annotated[str | None, typer.Option("--until", help="Before this time, given as for --since.")]
SearchSince = Annotated[
    str | None,
    typer.Option(
        "--since",
        help="A time before it, as for tail: the log is read from there on, not from its start.",
    ),
]
Newest = Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="How many, the newest first.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="An event's id; repeatable.")]


@app.command()
def tail(
    types: Types = None,
    account: Account = None,
    subject: Subject = None,
    correlation: Correlation = None,
    since: Since = None,
    until: Until = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Where to begin: first, last, next or an offset.", show_default="next"),
    ] = None,
    follow: Annotated[bool, typer.Option(help="Go on as events come, or stop at the log's end.")] = True,
    count: Annotated[
        int | None, typer.Option("-n", "--count", min=1, help="Stop after so many events.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print events as they come, one a line; with --since or --from those before first."""
    wanted = _filter(types, account, subject, correlation, since, until, None)
    begin = _place(start, wanted, follow=follow)
    with operating() as operations, operations.tail(wanted, start=begin, follow=follow) as events:
        for shown, event in enumerate(events, start=1):
            _print_event(event, as_json=as_json)
            if shown == count:
                return


@app.command()
def show(
    event_id: Annotated[UUID, typer.Argument(help="The event's id.")],
    since: SearchSince = None,
    as_json: AsJson = False,
) -> None:
    """Show one event, and which consumers have processed it."""
    with operating() as operations:
        found = operations.show(event_id, since=moment(since))
    if as_json:
        print_json(found.model_dump(mode="json"), indent=2)
        return
    print_document(found.event)
    print_line(f"offset {found.offset}, {found.exchange} → {found.routing_key}", style="dim")
    for entry in found.processed:
        print_done(f"{entry.consumer}  {entry.processed_at:%Y-%m-%d %H:%M:%S}")
    if not found.processed:
        print_line("No consumer has noted it as processed.")


@app.command()
def log(as_json: AsJson = False) -> None:
    """Show how many hours of events the log keeps at the rate of the last hour."""
    with operating() as operations:
        found = operations.retention()
    if as_json:
        print_json(found.model_dump(mode="json"), indent=2)
        return
    kept = "without end" if found.kept_hours is None else f"{found.kept_hours:,.0f} hours"
    bound = "" if found.bounded_by is None else f", bounded by {found.bounded_by}"
    print_line(f"keeps {kept} at {found.events_per_hour:,.0f} events an hour{bound}")
    print_line(f"its oldest event is {found.held_hours:,.1f} hours old")
    if found.is_short:
        print_line(
            f"That is less than {found.warn_hours:g} hours: raise EVENT_LOG_MAX_BYTES.", style="yellow"
        )


@app.command()
def trace(
    correlation_id: Annotated[str, typer.Argument(help="The correlation id, or the id of the first event.")],
    since: SearchSince = None,
    as_json: AsJson = False,
) -> None:
    """Show the causal tree of one request or sign-up, across services."""
    with operating() as operations:
        roots = operations.trace(correlation_id, since=moment(since))
    if as_json:
        print_json([root.model_dump(mode="json") for root in roots], indent=2)
        return
    tree = Tree(styled(correlation_id))
    for root in roots:
        _grow(tree, root)
    output.print(tree)


@app.command()
def replay(
    to: Annotated[str | None, typer.Option("--to", help="The consumer, by its queue's name.")] = None,
    types: Types = None,
    account: Account = None,
    subject: Subject = None,
    correlation: Correlation = None,
    since: Since = None,
    until: Until = None,
    ids: Ids = None,
    rate: Annotated[
        str | None, typer.Option("--rate", help="Events a second at most, such as 500/s.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be replayed.")] = False,
    resume: Annotated[UUID | None, typer.Option("--resume", help="Go on with an interrupted replay.")] = None,
    as_json: AsJson = False,
) -> None:
    """Deliver events of the log again, to one consumer alone.

    What the consumer has processed is counted, and not delivered to it again. Each event keeps its id. A
    replay that is interrupted says how to resume it. Who replayed what is kept in the database (ops_audit).
    """
    if (to is None) == (resume is None):
        raise typer.BadParameter("Give --to CONSUMER, or --resume ID for a replay that was interrupted.")
    wanted = _filter(types, account, subject, correlation, since, until, ids)
    events_per_second = pace(rate)

    if dry_run:
        with operating() as operations:
            counted = operations.count_replay(str(to), wanted)
        if as_json:
            print_json(counted.model_dump(mode="json"), indent=2)
            return
        print_line(
            f"{counted.events} events would be replayed to {to}: {counted.new} are new to it, "
            f"{counted.processed_before} it has processed and would not get again."
        )
        if counted.undecodable:
            print_line(f"{counted.undecodable} messages can't be decoded and are left out.")
        return
    with operating() as operations:
        done = _run_shown(operations, resume or str(to), wanted, events_per_second, as_json=as_json)
    if as_json:
        print_json(done.model_dump(mode="json"), indent=2)
    else:
        again = done.replayed_count - done.processed_before_count
        print_done(
            f"{done.replayed_count} events replayed to {done.consumer}: {again} were delivered, "
            f"{done.processed_before_count} it had processed."
        )


@app.command()
def replays(count: Newest = 20, as_json: AsJson = False) -> None:
    """List the last replays: whose they were, and how far they have come."""
    with operating() as operations:
        found = operations.replays(count)
    if as_json:
        print_json([entry.model_dump(mode="json") for entry in found], indent=2)
        return
    if not found:
        print_line("No replays.")
        return
    replay_table(found).print()


def replay_table(found: list[Replay]) -> Table:
    """How far each replay has come, and whose it is."""
    table = Table(
        ids("id"),
        words("to"),
        words("status"),
        figures("replayed"),
        figures("begun"),
        figures("last progress", rank=1),
        words("who", rank=2),
        words("filter", rank=3),
    )
    for entry in found:
        table.add(
            entry.id,
            entry.consumer,
            entry.status,
            f"{entry.replayed_count:,}",
            age_text(entry.started_at),
            age_text(entry.updated_at),
            entry.who,
            _summary(entry.filter.model_dump(mode="json", exclude_defaults=True)) or "everything",
        )
    return table


@app.command()
def audit(count: Newest = 20, as_json: AsJson = False) -> None:
    """List what was done to events and dead letters last: who, when, what, and what came of it."""
    with operating() as operations:
        entries = operations.audit(count)
    if as_json:
        print_json([entry.model_dump() for entry in entries], indent=2)
        return
    if not entries:
        print_line("Nothing was done yet.")
        return
    table = Table(ids("when"), *(words(title) for title in ("who", "action", "what", "result")))
    for entry in entries:
        result = Text("" if entry.finished_at else "interrupted, or still running ", "red")
        table.add(
            f"{entry.began_at:%Y-%m-%d %H:%M}",
            entry.who,
            entry.action,
            _summary(entry.filter),
            line(result, _summary(entry.result or {})),
        )
    table.print()


def _summary(given: dict[str, Any]) -> str:
    """A filter or a result in one cell, shortened; --json has all of it."""
    named = ", ".join(
        f"{name} {value if isinstance(value, str | int | float) else json.dumps(value)}"
        for name, value in given.items()
        if value is not None
    )
    return textwrap.shorten(named, _CELL_CHARACTERS, placeholder=" …")


def _run_shown(
    operations: Operations,
    of: str | UUID,
    wanted: EventFilter,
    rate: float | None,
    *,
    as_json: bool,
) -> Replay:
    """Replay to a consumer, or resume a replay, under a progress bar; if interrupted, say how to go on."""
    columns = (
        TextColumn("{task.description}", style="bold", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[replayed]} replayed"),
        TimeRemainingColumn(),
    )
    begun: Replay | None = None
    with progress(*columns, hidden=as_json) as bar:
        task = bar.add_task("Reading the event log", total=None, replayed=0)

        def on_progress(now: Replay) -> None:
            nonlocal begun
            if begun is None:
                if not as_json:
                    # Printed first: should this process be killed, the id is what resumes the replay.
                    print_line(f"replay {now.id}", style="dim")
                bar.update(task, description=f"Replaying to {plain(now.consumer)}")
            if begun is None or begun.next_offset is None:
                begun = now
            first, reached = begun.next_offset or 0, now.next_offset or 0
            bar.update(
                task,
                total=max(1, now.end_offset - first),
                completed=reached - first,
                replayed=now.replayed_count,
            )

        try:
            if isinstance(of, UUID):
                return operations.resume(of, on_progress=on_progress)
            return operations.replay(of, wanted, rate=rate, on_progress=on_progress)
        except BaseException as error:
            if begun is not None and not as_json:
                _print_interrupted(operations, begun, error)
            raise


def _print_interrupted(operations: Operations, begun: Replay, error: BaseException) -> None:
    if operations.outlives_command and isinstance(error, KeyboardInterrupt):
        print_line("The replay goes on in the service. See how far it is: jettythunder events replays")
    else:
        print_line(f"Interrupted. Go on with: jettythunder events replay --resume {begun.id}")


def _filter(
    types: list[str] | None,
    account: str | None,
    subject: str | None,
    correlation: str | None,
    since: str | None,
    until: str | None,
    ids: list[str] | None,
) -> EventFilter:
    return EventFilter(
        types=tuple(types or ()),
        account=account,
        subject=subject,
        correlation_id=correlation,
        ids=tuple(ids or ()),
        since=moment(since),
        until=moment(until),
    )


def _place(start: str | None, wanted: EventFilter, *, follow: bool) -> Place:
    if start is None:
        return "next" if follow and wanted.since is None else None
    if start in ("first", "last", "next"):
        return start
    if start.isascii() and start.isdecimal():
        return int(start)
    raise typer.BadParameter(f"{start!r} is no place in the log: give first, last, next or an offset.")


def _print_event(logged: LoggedEventView, *, as_json: bool) -> None:
    if as_json:
        print_json(logged.model_dump(mode="json"))
        return
    event = logged.event
    if event is None:
        print_line(
            styled(logged.offset, "dim"), " ", Text("can't be decoded", "red"), f" {logged.routing_key}"
        )
        return
    time, data = str(event.get("time", ""))[:19].replace("T", " "), event.get("data")
    print_line(
        styled(f"{logged.offset} {time}", "dim"),
        " ",
        styled(event.get("type", ""), "bold"),
        f" {event.get('id', '')} ",
        styled(f"{event.get('subject', '')} {json.dumps(data, ensure_ascii=False)}", "dim"),
    )


def _grow(branch: Tree, node: TraceNode) -> None:
    if node.type is None:
        label = line(styled("a command, or an event no longer in the log", "dim"), f" {node.id}")
    else:
        label = line(styled(node.type, "bold"), f" {node.source or ''} {node.time:%H:%M:%S.%f} {node.id}")
    grown = branch.add(label)
    for child in node.children:
        _grow(grown, child)
