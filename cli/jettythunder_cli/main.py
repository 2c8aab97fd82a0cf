"""The command line `jettythunder`: each group of commands lives in a module of its own."""

from __future__ import annotations

import typer

from jettythunder_cli import assets, download, login, quota, upload
from jettythunder_cli.contracts import app as contracts
from jettythunder_cli.database import app as database
from jettythunder_cli.dead_letters import app as dead_letters
from jettythunder_cli.events import app as events
from jettythunder_cli.stack.commands import app as stack
from jettythunder_cli.usage import app as usage
from jettythunder_cli.usage_rebuild import rebuild

app = typer.Typer(
    help="JettyThunder: multi-tenant object storage for AgentCache users.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(stack, name="stack")
app.add_typer(database, name="db")
usage.command()(rebuild)
app.add_typer(usage, name="usage")
app.add_typer(contracts, name="contracts")
app.add_typer(events, name="events")
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(upload.uploads, name="uploads")
for command in (
    upload.upload,
    download.download,
    quota.quota,
    assets.ls,
    assets.rm,
    login.login,
    login.logout,
):
    app.command()(command)


if __name__ == "__main__":
    app()
