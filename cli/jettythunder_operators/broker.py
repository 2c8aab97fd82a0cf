"""`jettythunder broker`: bring a broker to what the installed services need."""

from __future__ import annotations

import typer

from jettythunder.broker import topology
from jettythunder.broker.connection import declare_topology
from jettythunder.settings import BrokerSettings
from jettythunder_cli.frame.output import print_line
from jettythunder_operators.operating import read_settings, run

app = typer.Typer(help="The broker's exchanges and queues.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Keeps `broker` a group of commands while it has only one."""


@app.command()
def declare() -> None:
    """Declare the exchanges and queues of all installed services; safe to repeat, before services start."""
    settings = read_settings(BrokerSettings)
    run(lambda: declare_topology(settings, topology.consumer_queues()))
    print_line(f"Declared: {', '.join(queue.name for queue in topology.consumer_queues())}.")
