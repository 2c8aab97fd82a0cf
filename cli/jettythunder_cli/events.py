"""`jettythunder events`: look at the event log, trace what caused what, and replay to one consumer."""

from __future__ import annotations

import contextlib
import json
import textwrap
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.json import JSON
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.tree import Tree

from jettythunder.broker.event_log import EventFilter, LoggedEvent, Offset
from jettythunder.operations import Operations, Replay, ReplayCount, TraceNode, describe
from jettythunder_cli.operating import AsJson, age, moment, operating, operator, output, pace, run

_CELL_CHARACTERS = 200

app = typer.Typer(
    help="Look at the event log, trace what caused what, and replay events to one consumer. "
    "Needs DATABASE_URL and RABBITMQ_URL.",
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
    begin = _offset(start, wanted, follow=follow)

    async def work() -> None:
        shown = 0
        async with operating() as operations:
            log = operations.log
            events = log.follow(start=begin) if follow else log.read(start=begin)
            async with contextlib.aclosing(events):
                async for logged in events:
                    if not wanted.takes_logged(logged):
                        continue
                    _print_line(logged, as_json=as_json)
                    shown += 1
                    if shown == count:
                        return

    run(work, as_json=as_json)


@app.command()
def show(event_id: Annotated[UUID, typer.Argument(help="The event's id.")], as_json: AsJson = False) -> None:
    """Show one event, and which consumers have processed it."""

    async def work() -> dict[str, Any]:
        async with operating() as operations:
            logged, processed = await operations.show(event_id)
            return {**describe(logged), "processed": [p.model_dump(mode="json") for p in processed]}

    found = run(work, as_json=as_json)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    output.print(JSON.from_data(found["event"]))
    output.print(
        f"offset {found['offset']}, {found['exchange']} → {found['routing_key']}",
        style="dim",
        highlight=False,
    )
    for entry in found["processed"]:
        output.print(f"[green]✓[/green] {entry['consumer']}  {entry['processed_at']}", highlight=False)
    if not found["processed"]:
        output.print("No consumer has noted it as processed.", highlight=False)


@app.command()
def trace(
    correlation_id: Annotated[str, typer.Argument(help="The correlation id, or the id of the first event.")],
    as_json: AsJson = False,
) -> None:
    """Show the causal tree of one request or sign-up, across services."""

    async def work() -> list[TraceNode]:
        async with operating() as operations:
            return await operations.trace(correlation_id)

    roots = run(work, as_json=as_json)
    if as_json:
        print(json.dumps([root.model_dump(mode="json") for root in roots], indent=2))
        return
    tree = Tree(escape(correlation_id), highlight=False)
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

    Each keeps its id, so the consumer passes over what it has processed. A replay that is interrupted says
    how to resume it. Who replayed what is kept in the database (ops_audit).
    """
    if (to is None) == (resume is None):
        raise typer.BadParameter("Give --to CONSUMER, or --resume ID for a replay that was interrupted.")
    wanted = _filter(types, account, subject, correlation, since, until, ids)
    events_per_second = pace(rate)

    async def count() -> ReplayCount:
        async with operating() as operations:
            return await operations.replays.count(str(to), wanted)

    async def work() -> Replay:
        async with operating() as operations:
            replays = operations.replays
            if resume is not None:
                begun = await replays.resume(resume, who=operator())
            else:
                begun = await replays.begin(str(to), wanted, who=operator(), rate=events_per_second)
            return await _run_shown(operations, begun, as_json=as_json)

    if dry_run:
        counted = run(count, as_json=as_json)
        if as_json:
            print(counted.model_dump_json(indent=2))
            return
        output.print(
            f"{counted.events} events would be replayed to {to}: {counted.new} are new to it, "
            f"{counted.processed_before} it has processed and would pass over.",
            highlight=False,
            soft_wrap=True,
        )
        if counted.undecodable:
            output.print(
                f"{counted.undecodable} messages can't be decoded and are left out.", highlight=False
            )
        return
    done = run(work, as_json=as_json)
    if as_json:
        print(done.model_dump_json(indent=2))
    else:
        output.print(f"[green]✓[/green] {done.replayed_count} events replayed to {done.consumer}.")


@app.command()
def replays(count: Newest = 20, as_json: AsJson = False) -> None:
    """List the last replays: whose they were, and how far they have come."""

    async def work() -> list[Replay]:
        async with operating() as operations:
            return await operations.replays.newest(limit=count)

    found = run(work, as_json=as_json)
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in found], indent=2))
        return
    if not found:
        output.print("No replays.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    for title in ("to", "status", "replayed", "who", "begun", "last progress", "filter"):
        table.add_column(title, justify="right" if title == "replayed" else "left", overflow="fold")
    for entry in found:
        table.add_row(
            str(entry.id),
            entry.consumer,
            entry.status,
            str(entry.replayed_count),
            escape(entry.who),
            f"{age(entry.started_at)} ago",
            f"{age(entry.updated_at)} ago",
            escape(_told(entry.filter.model_dump(mode="json", exclude_defaults=True)) or "everything"),
        )
    output.print(table)


@app.command()
def audit(count: Newest = 20, as_json: AsJson = False) -> None:
    """List what was done to events and dead letters last: who, when, what, and what came of it."""

    async def work() -> list[dict[str, Any]]:
        async with operating() as operations:
            return await operations.audit.newest(limit=count)

    entries = run(work, as_json=as_json)
    if as_json:
        print(json.dumps(entries, indent=2, default=str))
        return
    if not entries:
        output.print("Nothing was done yet.")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("when", "who", "action", "what", "result"):
        table.add_column(title, overflow="fold")
    for entry in entries:
        table.add_row(
            f"{entry['began_at']:%Y-%m-%d %H:%M:%S}",
            escape(entry["who"]),
            entry["action"],
            escape(_told(entry["filter"])),
            escape(_told(entry["result"]))
            if entry["result"] is not None
            else "[red]cut off, or under way[/red]",
        )
    output.print(table)


def _told(given: dict[str, Any]) -> str:
    """A filter or a result in one cell; what is too long for it can be had with --json."""
    told = ", ".join(
        f"{name} {value if isinstance(value, str | int | float) else json.dumps(value)}"
        for name, value in given.items()
        if value is not None
    )
    return textwrap.shorten(told, _CELL_CHARACTERS, placeholder=" …")


async def _run_shown(operations: Operations, begun: Replay, *, as_json: bool) -> Replay:
    """Run a replay under a progress bar; where it is cut off, say how to go on."""
    if not as_json:
        # Told first: should this process be killed, the id is what brings the replay back.
        output.print(f"[dim]replay {begun.id}[/dim]", highlight=False)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[replayed]} replayed"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=output, disable=as_json) as bar:
        first = begun.next_offset
        task = bar.add_task(f"Replaying to {begun.consumer}", total=None, replayed=begun.replayed_count)

        def on_progress(now: Replay) -> None:
            nonlocal first
            reached = now.next_offset or 0
            first = reached if first is None else first
            bar.update(
                task,
                total=max(1, begun.end_offset - first),
                completed=reached - first,
                replayed=now.replayed_count,
            )

        try:
            return await operations.replays.run(begun, on_progress)
        except BaseException:
            if not as_json:
                output.print(
                    f"Interrupted. Go on with: jettythunder events replay --resume {begun.id}", soft_wrap=True
                )
            raise


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


def _offset(start: str | None, wanted: EventFilter, *, follow: bool) -> Offset:
    if start is None:
        return "next" if follow and wanted.since is None else wanted.begin
    if start in ("first", "last", "next"):
        return start
    if start.isdecimal():
        return int(start)
    raise typer.BadParameter(f"{start!r} is no place in the log: give first, last, next or an offset.")


def _print_line(logged: LoggedEvent, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(describe(logged)), flush=True)
        return
    event = logged.event
    if event is None:
        output.print(
            f"[dim]{logged.offset}[/dim] [red]can't be decoded[/red] {escape(logged.routing_key)}",
            highlight=False,
        )
        return
    output.print(
        f"[dim]{logged.offset} {event.time:%Y-%m-%d %H:%M:%S}[/dim] [bold]{escape(event.type)}[/bold] "
        f"{event.id} [dim]{escape(event.subject or '')} {escape(json.dumps(event.data))}[/dim]",
        highlight=False,
        soft_wrap=True,
    )


def _grow(branch: Tree, node: TraceNode) -> None:
    if node.type is None:
        label = f"[dim]a command, or an event no longer in the log[/dim] {escape(node.id)}"
    else:
        label = (
            f"[bold]{escape(node.type)}[/bold] {escape(node.source or '')} {node.time:%H:%M:%S.%f} {node.id}"
        )
    grown = branch.add(label)
    for child in node.children:
        _grow(grown, child)
