"""`jettythunder stack`, or `python -m jettythunder_dev`: the developer stack from the command line."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import psutil
import typer
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from jettythunder_dev.errors import StackError
from jettythunder_dev.logs import follow_logs, print_logs
from jettythunder_dev.progress import RichReporter, SilentReporter
from jettythunder_dev.stack import Stack, StackOptions, StackSummary

app = typer.Typer(
    help="Run JettyThunder on this machine: PostgreSQL, RabbitMQ, an S3 server and the services.",
    no_args_is_help=True,
)
output = Console()
errors = Console(stderr=True)

DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Where everything of the stack lives.",
        show_default="JETTYTHUNDER_DATA_DIR or .jettythunder",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print a result for programs to read.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def errors_as_sentences(*, as_json: bool, debug: bool) -> Iterator[None]:
    """Print a StackError as its sentence, or as JSON, and exit with 1."""
    try:
        yield
    except StackError as error:
        if debug:
            raise
        if as_json:
            print(json.dumps({"error": str(error)}))
        else:
            errors.print(f"[red]✗[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(1) from None


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
    options = StackOptions(data_dir=data_dir, workers=workers, infra_only=infra_only)
    with errors_as_sentences(as_json=as_json, debug=debug):
        if as_json:
            silent = SilentReporter()
            summary = Stack(options, silent).up()
            print(json.dumps({**asdict(summary), "warnings": silent.warnings}, indent=2))
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
    with errors_as_sentences(as_json=as_json, debug=debug):
        options = StackOptions(data_dir=data_dir)
        if as_json:
            print(json.dumps(asdict(Stack(options).down(purge=purge)), indent=2))
            return
        with RichReporter(output) as reporter:
            result = Stack(options, reporter).down(purge=purge)
        stopped = "Stopped; no process is left." if result.was_running else "Nothing was running."
        output.print(stopped, highlight=False)
        if result.removed:
            output.print(f"Removed {result.removed}.", highlight=False, soft_wrap=True)
        elif result.kept:
            output.print(
                f"Kept: data, logs and secrets in {result.kept}. `make purge` removes them.",
                highlight=False,
                soft_wrap=True,
            )


@app.command()
def status(data_dir: DataDir = None, as_json: AsJson = False, debug: Debug = False) -> None:
    """Show what runs, where and since when. Exits with 3 where nothing runs."""
    with errors_as_sentences(as_json=as_json, debug=debug):
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
        print(json.dumps({"running": bool(rows), "roles": state.roles, "programs": rows}, indent=2))
    elif rows:
        output.print(_status_table(rows))
        for role in state.roles.values():
            output.print(f"{role['description']} ({role['source']})", style="dim", highlight=False)
    else:
        output.print("The stack does not run; `make up` starts it.")
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
    table = Table(box=None, pad_edge=False)
    for title, justify in (("program", "left"), ("state", "left"), ("pid", "right"), ("port", "right")):
        table.add_column(title, justify="right" if justify == "right" else "left")
    table.add_column("up", justify="right")
    table.add_column("memory", justify="right")
    for row in rows:
        style = "green" if row["state"] == "RUNNING" else "red"
        table.add_row(
            row["name"],
            f"[{style}]{row['state']}[/{style}]",
            *(_or_dash(row[key], str) for key in ("pid", "port")),
            _or_dash(row["uptime_seconds"], lambda seconds: f"{seconds // 60} min {seconds % 60} s"),
            _or_dash(row["memory_bytes"], lambda size: f"{size / 1e6:.0f} MB"),
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
    with errors_as_sentences(as_json=False, debug=debug):
        folder = Stack(StackOptions(data_dir=data_dir)).layout.logs
        print_logs(folder, program, lines)
        if follow:
            follow_logs(folder, program)


@app.command()
def schema(
    database_url: Annotated[
        str, typer.Option(envvar="DATABASE_URL", help="The PostgreSQL server for a scratch database.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Where to write it.", show_default="deploy/database/schema.sql"),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write the schema that the migrations make, as one SQL file."""
    from jettythunder_dev.schema import SCHEMA, write_schema  # noqa: PLC0415

    written = output or SCHEMA
    with errors_as_sentences(as_json=False, debug=debug):
        write_schema(database_url, written)
    errors.print(f"Wrote {written}.", highlight=False, soft_wrap=True)
