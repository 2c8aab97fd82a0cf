"""The env file: what a shell sources, and where the stack keeps the secrets that it made."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

from jettythunder_client.private_files import write_private

HEADER = (
    "# Made by `jettythunder stack up`. Load it into a shell with:  . {path}\n"
    "# It holds secrets of this machine's stack: keep it out of version control.\n"
)


def read_environment(path: Path) -> dict[str, str]:
    """The variables of an env file; empty where there is none."""
    if not path.exists():
        return {}
    assignments = (
        token.partition("=") for token in shlex.split(path.read_text(), comments=True) if "=" in token
    )
    return {name: value for name, _, value in assignments}


def write_environment(path: Path, shown: Path, variables: Mapping[str, str]) -> None:
    """Write an env file that sh, bash and zsh load, readable by its owner alone."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()]
    write_private(path, HEADER.format(path=shown) + "".join(lines))


def new_secret() -> str:
    """384 random bits that need no quoting in a URL, a shell or a configuration file."""
    return secrets.token_urlsafe(48)
