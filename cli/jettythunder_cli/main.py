"""The command line `jettythunder`: a tenant's commands, and those that other distributions contribute.

A distribution contributes commands by entry points of the group `jettythunder.commands`: the name is the
command's, the value where its function, or its `typer.Typer` for a group of commands, is.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_group

from jettythunder_cli.frame.errors import run_reporting
from jettythunder_client.errors import ClientError

GROUP = "jettythunder.commands"

# In the order of the help: where each command, or group of commands, is.
TENANT_COMMANDS = {
    "upload": "jettythunder_cli.upload.command:upload",
    "download": "jettythunder_cli.download:download",
    "quota": "jettythunder_cli.quota:quota",
    "ls": "jettythunder_cli.assets:ls",
    "rm": "jettythunder_cli.assets:rm",
    "login": "jettythunder_cli.login:login",
    "logout": "jettythunder_cli.login:logout",
    "uploads": "jettythunder_cli.upload.unfinished:uploads",
    "cdn": "jettythunder_cli.cdn:cdn",
}


class CommandUnavailable(ClientError):
    """The distribution that contributes this command is damaged."""

    code = "command_unavailable"


class Commands(Mapping[str, TyperCommand | TyperGroup]):
    """The commands by name, imported when asked for: `upload` does not wait for what `events` needs."""

    @cached_property
    def contributed(self) -> dict[str, EntryPoint]:
        """What other distributions contribute; a tenant's commands can't be replaced."""
        found = {
            entry.name: entry for entry in entry_points(group=GROUP) if entry.name not in TENANT_COMMANDS
        }
        return dict(sorted(found.items()))

    def __iter__(self) -> Iterator[str]:
        yield from TENANT_COMMANDS
        yield from self.contributed

    def __len__(self) -> int:
        return len(TENANT_COMMANDS) + len(self.contributed)

    def __getitem__(self, name: str) -> TyperCommand | TyperGroup:
        if place := TENANT_COMMANDS.get(name):
            module, _, attribute = place.partition(":")
            with _importing():
                return _command(name, getattr(import_module(module), attribute), panel=None)
        entry = self.contributed[name]
        try:
            with _importing():
                found = entry.load()
        except (ImportError, AttributeError) as error:
            found = _unavailable(entry, error)
        return _command(name, found, panel="Operators' commands")


@contextmanager
def _importing() -> Iterator[None]:
    """What modules consist of is never garbage: searching it for some takes a fifth of their import."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _command(
    name: str, found: typer.Typer | Callable[..., object], *, panel: str | None
) -> TyperCommand | TyperGroup:
    holder = typer.Typer()
    if isinstance(found, typer.Typer):
        holder.add_typer(found, name=name, rich_help_panel=panel)
    else:
        holder.command(name, rich_help_panel=panel)(found)
    command = get_group(holder).commands[name]
    assert isinstance(command, TyperCommand | TyperGroup)  # noqa: S101 - Typer makes no others
    return command


def _unavailable(entry: EntryPoint, error: Exception) -> Callable[[], None]:
    """A command that says why it is not there, so that the others are all the same."""
    source = f" of {entry.dist.name}" if entry.dist else ""
    sentence = f"The command {entry.name}{source} can't be loaded: {error}. Install that distribution anew."

    def unavailable() -> None:
        raise CommandUnavailable(sentence)

    unavailable.__doc__ = sentence
    return unavailable


class CommandLine(TyperGroup):
    """`jettythunder` itself: the one place where errors of commands are caught."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "commands": Commands()})

    def main(self, args: Sequence[str] | None = None, *positional: Any, **settings: Any) -> NoReturn:
        """Run, report an error, and exit."""
        arguments = list(sys.argv[1:] if args is None else args)
        run = super().main
        run_reporting(
            lambda: run(arguments, *positional, **{**settings, "standalone_mode": False}), arguments
        )


app = typer.Typer(
    cls=CommandLine,
    help="JettyThunder: multi-tenant object storage for AgentCache users.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def root() -> None:
    """Makes `app` a group, though its commands are not registered with it."""


if __name__ == "__main__":
    app()
