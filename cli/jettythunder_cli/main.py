"""The command line `jettythunder`: each group of commands lives in a module of its own."""

from __future__ import annotations

import typer

from jettythunder_cli.database import app as database
from jettythunder_cli.stack.commands import app as stack

app = typer.Typer(
    help="JettyThunder: multi-tenant object storage for AgentCache users.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(stack, name="stack")
app.add_typer(database, name="db")


@app.callback()
def root() -> None:
    """Keeps `stack` a group of commands while it is the only one."""


if __name__ == "__main__":
    app()
