"""`jettythunder contracts`: the messages between services, described for others."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
import yaml

from jettythunder.broker.asyncapi import build_document
from jettythunder_cli.frame.output import print_json

app = typer.Typer(help="The messages between services, described for others.", no_args_is_help=True)

_HEADER = "# Generated from the code by `make asyncapi`; a test compares the two.\n"


@app.callback()
def root() -> None:
    """Keeps `contracts` a group of commands while it has only one."""


@app.command()
def asyncapi(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of YAML.")] = False,
) -> None:
    """Print the AsyncAPI 3 document of all messages."""
    if as_json:
        print_json(build_document(), indent=2)
    else:
        sys.stdout.write(_HEADER + render_yaml())


def render_yaml() -> str:
    """The document as YAML, in the order in which it was built."""
    rendered: str = yaml.safe_dump(build_document(), sort_keys=False, allow_unicode=True, width=110)
    return rendered
