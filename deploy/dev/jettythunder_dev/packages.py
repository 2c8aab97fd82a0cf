"""Finding the servers' programs on this machine, and installing them where they are missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jettythunder_dev.errors import StackError

HOMEBREW_PREFIXES = (Path("/opt/homebrew"), Path("/usr/local"), Path("/home/linuxbrew/.linuxbrew"))
POLICY = Path("/usr/sbin/policy-rc.d")
CREATE_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")


@dataclass(frozen=True)
class Package:
    """A server's package under the name each package manager knows it by."""

    title: str
    apt: str
    brew: str


POSTGRES = Package("PostgreSQL", apt="postgresql", brew="postgresql@17")
RABBITMQ = Package("RabbitMQ", apt="rabbitmq-server", brew="rabbitmq")


def version_key(folder: Path) -> tuple[int, ...]:
    """Orders folders such as /usr/lib/postgresql/15/bin and postgresql@17 by the numbers in their path."""
    return tuple(int(number) for number in re.findall(r"\d+", str(folder)))


def postgres_folders() -> Iterator[Path]:
    """Folders that hold PostgreSQL's server programs, the newest first."""
    found = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    for prefix in HOMEBREW_PREFIXES:
        found += prefix.glob("opt/postgresql*/bin")
    on_path = shutil.which("initdb")
    if on_path:
        found.append(Path(on_path).resolve().parent)
    yield from (
        folder
        for folder in sorted(found, key=version_key, reverse=True)
        if (folder / "initdb").exists() and (folder / "postgres").exists()
    )


def find_postgres(major_version: str | None = None) -> Path | None:
    """The folder of PostgreSQL's programs; of that major version where a cluster of it is there already."""
    for folder in postgres_folders():
        if major_version is None or postgres_version(folder).split(".")[0] == major_version:
            return folder
    return None


def postgres_version(folder: Path) -> str:
    """The version that `postgres --version` names, such as 15.14."""
    printed = subprocess.run(
        [folder / "postgres", "--version"], capture_output=True, text=True, check=True, timeout=30
    ).stdout
    found = re.search(r"\d+(\.\d+)*", printed)
    return found.group() if found else printed.strip()


def find_rabbitmq() -> Path | None:
    """The folder of RabbitMQ's own scripts. Distributions' wrappers, which change the user, are not taken."""
    candidates = [Path("/usr/lib/rabbitmq/bin")]
    candidates += [prefix / "opt/rabbitmq/sbin" for prefix in HOMEBREW_PREFIXES]
    on_path = shutil.which("rabbitmq-server")
    if on_path and "wrapper" not in Path(on_path).resolve().name:
        candidates.append(Path(on_path).resolve().parent)
    for folder in candidates:
        script = folder / "rabbitmq-server"
        if script.exists() and (folder / "rabbitmq-env").exists():
            return folder
    return None


def install(packages: list[Package], announce: Callable[[str], None]) -> None:
    """Install the packages with apt or brew, asking where that needs sudo.

    Their own services are not started and no server that was there before is touched. Raises StackError, with
    the command to type, where the stack may not or cannot install.
    """
    titles = " and ".join(package.title for package in packages)
    if shutil.which("apt-get"):
        _install_with_apt([package.apt for package in packages], titles, announce)
    elif shutil.which("brew"):
        announce(f"Installing {titles} with Homebrew; its services are not started.")
        _run(["brew", "install", *(package.brew for package in packages)])
    else:
        raise StackError(
            f"{titles} is not installed and there is neither apt nor Homebrew to install it with: install it "
            "with this system's package manager, or start Docker, and repeat."
        )


def _install_with_apt(names: list[str], titles: str, announce: Callable[[str], None]) -> None:
    prefix = _root_prefix(names, titles)
    announce(f"Installing {titles} with apt; its services are not started.")
    with _services_stay_down(prefix):
        _run([*prefix, "apt-get", "update", "-q"])
        _apt_install(prefix, ["postgresql-common"] if "postgresql" in names else [])
        with _no_cluster_is_made(prefix):
            _apt_install(prefix, names)


def _apt_install(prefix: list[str], names: list[str]) -> None:
    if names:
        options = ["-y", "-q", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]
        _run([*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", *options, *names])


def _root_prefix(names: list[str], titles: str) -> list[str]:
    """What to put before a command so that it runs as root: nothing, or sudo, once the user agreed."""
    if os.getuid() == 0:
        return []
    command = f"sudo apt-get install {' '.join(names)}"
    if not shutil.which("sudo") or not sys.stdin.isatty():
        raise StackError(f"{titles} is not installed: install it with `{command}`, and repeat.")
    print(f"JettyThunder keeps its data in {titles}, which this machine lacks. May it run `{command}`?")
    print("sudo may ask for your password. The packages' own services are not started.")
    if input("Install now? [Y/n] ").strip().lower() not in {"", "y", "yes"}:
        raise StackError(f"Nothing was installed. To install it yourself: `{command}`, and repeat.")
    return ["sudo"]


@contextmanager
def _services_stay_down(prefix: list[str]) -> Iterator[None]:
    """Keep packages from starting their services: a policy-rc.d that says no, where there is none yet."""
    if POLICY.exists():
        yield
        return
    _write_as_root(prefix, POLICY, "#!/bin/sh\nexit 101\n", mode="755")
    try:
        yield
    finally:
        _run([*prefix, "rm", "-f", str(POLICY)])


@contextmanager
def _no_cluster_is_made(prefix: list[str]) -> Iterator[None]:
    """Keep Debian's PostgreSQL package from making a cluster; the setting is put back afterwards."""
    if not CREATE_CLUSTER.exists():
        yield
        return
    before = CREATE_CLUSTER.read_text()
    _write_as_root(prefix, CREATE_CLUSTER, before + "\ncreate_main_cluster = false\n", mode="644")
    try:
        yield
    finally:
        _write_as_root(prefix, CREATE_CLUSTER, before, mode="644")


def _write_as_root(prefix: list[str], path: Path, text: str, *, mode: str) -> None:
    subprocess.run([*prefix, "tee", str(path)], input=text, text=True, check=True, stdout=subprocess.DEVNULL)
    _run([*prefix, "chmod", mode, str(path)])


def _run(command: list[str]) -> None:
    """Run a package manager's command, its output shown only where it fails."""
    finished = subprocess.run(
        command,
        stdin=subprocess.DEVNULL if os.getuid() == 0 else None,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        shown = " ".join(part for part in command if part)
        last_lines = "\n".join((finished.stdout + finished.stderr).strip().splitlines()[-8:])
        raise StackError(
            f"`{shown}` failed with exit code {finished.returncode}; run it by hand to see why.\n{last_lines}"
        )
