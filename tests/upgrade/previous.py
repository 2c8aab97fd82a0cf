"""The version before, checked out of the repository's history: its environment and its services."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.upgrade.fill import Manifest

from jettythunder_dev.layout import REPOSITORY

COMMIT = "36c368019dbcbd8c968357327383d8c1c62dd8a1"
FILL = Path(__file__).with_name("fill.py")
UV = Path(sys.executable).with_name("uv")

# What a service of a stack is started with is settled by its servers' variables, and by no shell's.
INHERITED = ("PATH", "HOME", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR", "UV_CACHE_DIR")


@dataclass(frozen=True)
class PreviousVersion:
    """A checkout of the version before, and how its services reach their servers.

    `data_dir` is the stack's, with the secrets that it makes at its first start.
    """

    checkout: Path
    data_dir: Path
    servers: Mapping[str, str]
    gateway_port: int

    def start(self) -> None:
        """Bring the database and the broker to this version, and start its services."""
        self._stack("up", "--workers", "2")

    def stop(self) -> None:
        """Stop its services in an orderly way; the servers are not its own."""
        self._stack("down")

    def fill(self, variables: Mapping[str, str], manifest: Path) -> Manifest:
        """Run the fill script against the running services; `variables` are those of their env file."""
        self._python(str(FILL), str(manifest), **variables)
        return Manifest.model_validate_json(manifest.read_text())

    def _stack(self, command: str, *arguments: str) -> None:
        printed = self._python(
            *("-m", "jettythunder_cli.main", "stack", command, "--json"),
            *("--data-dir", str(self.data_dir), *arguments),
            GATEWAY_PORT=str(self.gateway_port),
            **self.servers,
        )
        json.loads(printed)

    def _python(self, *arguments: str, **environment: str) -> str:
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return run(
            self.checkout / ".venv" / "bin" / "python",
            *arguments,
            cwd=self.checkout,
            environment={**inherited, "PYTHONPATH": str(self.checkout), **environment},
        )


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """What a command prints; AssertionError with everything it wrote where it fails."""
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def checked_out(folder: Path) -> Iterator[Path]:
    """The version before in a folder, with its pinned packages in `.venv`.

    It needs the repository's history: in a shallow clone without that commit it is an AssertionError.
    """
    git = ("git", "-C", str(REPOSITORY))
    known = subprocess.run([*git, "cat-file", "-e", f"{COMMIT}^{{commit}}"], capture_output=True, check=False)
    assert known.returncode == 0, (
        f"The upgrade is tested from commit {COMMIT}, which this clone does not have: fetch the whole "
        "history with `git fetch --unshallow`, and repeat."
    )
    checkout = folder / "previous"
    run(*git, "worktree", "add", "--detach", checkout, COMMIT, cwd=folder)
    try:
        pip = (UV, "pip", "install", "--quiet", "--python", checkout / ".venv")
        run(UV, "venv", "--quiet", "--python", sys.executable, checkout / ".venv", cwd=checkout)
        run(*pip, "--require-hashes", "--requirement", "requirements.lock", cwd=checkout)
        run(*pip, "--no-deps", "--editable", ".", cwd=checkout)
        yield checkout
    finally:
        run(*git, "worktree", "remove", "--force", checkout, cwd=folder)
