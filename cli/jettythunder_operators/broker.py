"""`jettythunder broker`: bring a broker to what the installed services need."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from typing import Annotated

import typer

from jettythunder.broker import topology
from jettythunder.broker.connection import declare_topology
from jettythunder.broker.permissions import permissions
from jettythunder.settings import BrokerSettings
from jettythunder_cli.frame.options import AsJson
from jettythunder_cli.frame.output import print_json, print_line
from jettythunder_operators.operating import read_settings, run

app = typer.Typer(help="The broker's exchanges, queues and users.", no_args_is_help=True)


@app.command()
def declare() -> None:
    """Declare the exchanges and queues of all installed services; safe to repeat, before services start."""
    settings = read_settings(BrokerSettings)
    run(lambda: declare_topology(settings, topology.consumer_queues()))
    print_line(f"Declared: {', '.join(queue.name for queue in topology.consumer_queues())}.")


@app.command()
def users(
    virtual_host: Annotated[
        str, typer.Option("--virtual-host", help="Where the exchanges and queues are.")
    ] = "/",
    as_json: AsJson = False,
) -> None:
    """Print the commands that make a user for each service, which may do what its messages need and no more.

    `rabbitmqctl add_user` asks for the password of each. Safe to repeat but for users that are there.
    """
    found = permissions(topology.installed_services())
    if as_json:
        print_json([asdict(of_user) for of_user in found])
        return
    for of_user in found:
        print_line(shlex.join(["rabbitmqctl", "add_user", of_user.user]))
        allowed = (of_user.configure, of_user.write, of_user.read)
        print_line(shlex.join(["rabbitmqctl", "set_permissions", "-p", virtual_host, of_user.user, *allowed]))
