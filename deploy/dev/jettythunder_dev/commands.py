"""`jettythunder stack`: the developer stack from the command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.panel import Panel
from rich.text import Text

from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import errors, output, print_json, print_line
from jettythunder_cli.frame.table import Table, figures, words
from jettythunder_cli.frame.text import size_text
from jettythunder_dev.logs import follow_logs, print_logs
from jettythunder_dev.progress import RichReporter, SilentReporter
from jettythunder_dev.stack import Stack, StackOptions, StackSummary

app = typer.Typer(
    help="Run JettyThunder on this machine: PostgreSQL, RabbitMQ, an S3 server and the services.",
    no_args_is_help=True,
)

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where everything of the stack lives.",
        show_default="JETTYTHUNDER_DATA_DIR or .jettythunder",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@app.command()
def up(
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=64, help="How many chunk-workers.", show_default="as last time, at first 2"),
    ] = None,
    data_dir: DataDir = None,
    infra_only: Annotated[
        bool, typer.Option("--infra-only", help="Only PostgreSQL, RabbitMQ and S3, without the services.")
    ] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Start the stack, or change the running one; waits until everything answers.

    Servers that DATABASE_URL, RABBITMQ_URL and LYVE_ENDPOINT point to are used where they answer, else
    Docker, else native ones. The gateway listens on GATEWAY_PORT, 3000 by default.
    """
    options = StackOptions(data_dir=data_dir, workers=workers, kinds=() if infra_only else None)
    if as_json:
        silent = SilentReporter()
        summary = Stack(options, silent).up()
        print_json({**asdict(summary), "warnings": silent.warnings}, indent=2)
        return
    with RichReporter(output) as reporter:
        summary = Stack(options, reporter).up()
    output.print(_panel(summary))


def _panel(summary: StackSummary) -> Panel:
    began = "was running already" if summary.already_running else f"is up after {summary.seconds} s"
    lines = [
        f"Base URL   {summary.base_url or 'none: only the infrastructure was asked for'}",
        f"Variables  . {_from_here(summary.environment_file)}",
        f"Logs       {_from_here(summary.logs)}   (make logs)",
    ]
    if summary.base_url:
        lines += [
            f"API        {summary.base_url}/docs",
            "Next       the five calls of README.md: provision, upload, quota, psql, aws s3 ls",
        ]
    return Panel(Text("\n".join(lines)), title=f"JettyThunder {began}", expand=False)


def _from_here(path: str) -> str:
    """The path as one would type it: relative where it lies below the current folder."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


@app.command()
def down(
    data_dir: DataDir = None,
    purge: Annotated[bool, typer.Option("--purge", help="Remove the data folder as well.")] = False,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Stop everything that `up` started. The data stays, unless --purge is given."""
    options = StackOptions(data_dir=data_dir)
    if as_json:
        print_json(asdict(Stack(options).down(purge=purge)), indent=2)
        return
    with RichReporter(output) as reporter:
        result = Stack(options, reporter).down(purge=purge)
    stopped = "Stopped; no process is left." if result.was_running else "Nothing was running."
    print_line(stopped)
    if result.removed:
        print_line(f"Removed {result.removed}.")
    elif result.kept:
        print_line(f"Kept: data, logs and secrets in {result.kept}. `make purge` removes them.")


@app.command()
def status(data_dir: DataDir = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Show what runs, where and since when. Exits with 3 where nothing runs."""
    stack = Stack(StackOptions(data_dir=data_dir))
    state = stack.state()
    rows = [
        {
            "name": info.name,
            "state": info.state,
            "pid": info.pid,
            "port": state.ports.get(info.name),
            "uptime_seconds": int(time.time()) - info.started_at_seconds if info.pid else None,
            "memory_bytes": _memory_bytes(info.pid),
        }
        for info in stack.processes()
    ]
    if as_json:
        print_json({"running": bool(rows), "roles": state.roles, "programs": rows}, indent=2)
    elif rows:
        _status_table(rows).print()
        for role in state.roles.values():
            print_line(f"{role['description']} ({role['source']})", style="dim")
    else:
        print_line("The stack does not run; `make up` starts it.")
    if not rows:
        raise typer.Exit(3)


def _memory_bytes(pid: int | None) -> int | None:
    """The resident memory of a process and its children, where it is still there."""
    try:
        process = psutil.Process(pid) if pid else None
        family = [process, *process.children(recursive=True)] if process else []
        return sum(member.memory_info().rss for member in family) if process else None
    except psutil.Error:
        return None


def _status_table(rows: list[dict[str, Any]]) -> Table:
    titles = ("pid", "port", "up", "memory")
    table = Table(words("program"), words("state"), *(figures(title) for title in titles))
    for row in rows:
        table.add(
            row["name"],
            Text(row["state"], "green" if row["state"] == "RUNNING" else "red"),
            *(_or_dash(row[key], str) for key in ("pid", "port")),
            _or_dash(row["uptime_seconds"], lambda seconds: f"{seconds // 60} min {seconds % 60} s"),
            _or_dash(row["memory_bytes"], size_text),
        )
    return table


def _or_dash(value: int | None, render: Callable[[int], str]) -> str:
    return "-" if value is None else render(value)


@app.command()
def logs(
    program: Annotated[
        str | None, typer.Argument(help="One program, as `status` names it; all without it.")
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines are written.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many lines back.")] = 20,
    data_dir: DataDir = None,
    debug: Debug = False,
) -> None:
    """Print the programs' last log lines."""
    folder = Stack(StackOptions(data_dir=data_dir)).layout.logs
    print_logs(folder, program, lines)
    if follow:
        follow_logs(folder, program)


@app.command()
def schema(
    database_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", help="The PostgreSQL server for a scratch database.")
    ],
    output_file: Annotated[
        Path | None,
        typer.Option("--output", help="Where to write it.", show_default="deploy/database/schema.sql"),
    ] = None,
) -> None:
    """Write the schema that the migrations make, as one SQL file."""
    from jettythunder_dev.schema import SCHEMA, write_schema  # noqa: PLC0415

    written = output_file or SCHEMA
    write_schema(database_url, written)
    errors.print(f"Wrote {written}.", highlight=False, soft_wrap=True)
