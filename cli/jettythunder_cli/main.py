"""The command line `jettythunder`: each group of commands in a module of its own, loaded when called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

# In the order of the help: where each command, or group of commands, is.
COMMANDS = {
    "upload": "jettythunder_cli.upload:upload",
    "download": "jettythunder_cli.download:download",
    "quota": "jettythunder_cli.quota:quota",
    "ls": "jettythunder_cli.assets:ls",
    "rm": "jettythunder_cli.assets:rm",
    "login": "jettythunder_cli.login:login",
    "logout": "jettythunder_cli.login:logout",
    "uploads": "jettythunder_cli.upload:uploads",
    "stack": "jettythunder_cli.stack.commands:app",
    "db": "jettythunder_cli.database:app",
    "broker": "jettythunder_cli.broker:app",
    "usage": "jettythunder_cli.usage:app",
    "contracts": "jettythunder_cli.contracts:app",
    "events": "jettythunder_cli.events:app",
    "dead-letters": "jettythunder_cli.dead_letters:app",
}


class Commands(Mapping[str, TyperCommand | TyperGroup]):
    """The commands by name, imported when asked for: `upload` does not wait for what `events` needs."""

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        module, _, attribute = COMMANDS[name].partition(":")
        found = getattr(import_module(module), attribute)
        holder = typer.Typer()
        if isinstance(found, typer.Typer):
            holder.add_typer(found, name=name)
        else:
            holder.command(name)(found)
        command = get_group(holder).commands[name]
        assert isinstance(command, TyperCommand | TyperGroup)  # noqa: S101 - Typer makes no others
        return command


class Root(TyperGroup):
    """`jettythunder` itself."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": Commands()})


app = typer.Typer(
    cls=Root,
    help="JettyThunder: multi-tenant object storage for AgentCache users.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def root() -> None:
    """Makes `app` a group, though its commands are not registered with it."""


if __name__ == "__main__":
    app()
