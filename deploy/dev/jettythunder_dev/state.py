"""stack.json: what the stack remembers between commands."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jettythunder_client.private_files import write_private
from jettythunder_dev.environment import new_secret
from jettythunder_dev.errors import StackError


@dataclass
class StackState:
    """The ports, roles, passwords and processes of one data folder.

    `roles` says of each role where it runs (`source`: external, docker or native) and what it is.
    """

    ports: dict[str, int] = field(default_factory=dict)
    roles: dict[str, dict[str, str]] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    processes: dict[str, int | None] = field(default_factory=dict)
    workers: int = 0

    def password(self, role: str) -> str:
        """The password of a server of the stack's own, made at its first mention."""
        return self.passwords.setdefault(role, new_secret())

    def source(self, role: str) -> str | None:
        """Where the role ran the last time; None at first."""
        return self.roles.get(role, {}).get("source")


def read_state(path: Path) -> StackState:
    """The remembered state; an empty one where there is none yet."""
    if not path.exists():
        return StackState()
    try:
        return StackState(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise StackError(
            f"{path} is not what the stack wrote there: remove the data with `make purge` and start anew."
        ) from error


def write_state(path: Path, state: StackState) -> None:
    write_private(path, json.dumps(asdict(state), indent=2) + "\n")
