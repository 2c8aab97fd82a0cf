"""The desktop CDN as a service of the user's session: a systemd user unit, or a launchd agent."""

import os
import plistlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from jettythunder_cdn.errors import DidNotStart, NoServiceManager
from jettythunder_cdn.settings import SERVICE_VARIABLES

UNIT = "jettythunder-cdn.service"
LABEL = "ai.agentcache.jettythunder.cdn"

Run = Callable[[Sequence[str]], int]


class Service(Protocol):
    """What keeps the desktop CDN running while the user is there."""

    file: Path

    def install(self, environment: Mapping[str, str]) -> None:
        """Write the service's file, and start it now and at every login."""

    def uninstall(self) -> None:
        """Stop it and remove its file."""

    def start(self) -> None:
        """Start it now."""

    def stop(self) -> None:
        """Stop it until the next login."""


class Systemd:
    """A systemd user unit."""

    def __init__(self, home: Path, run: Run) -> None:
        config = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        self.file = config / "systemd" / "user" / UNIT
        self._run = run

    def install(self, environment: Mapping[str, str]) -> None:
        """See `Service.install`."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(unit(sys.executable, kept(environment)), encoding="utf-8")
        self._call("daemon-reload")
        self._call("enable", "--now", UNIT)

    def uninstall(self) -> None:
        """See `Service.uninstall`."""
        self._run(["systemctl", "--user", "disable", "--now", UNIT])
        self.file.unlink(missing_ok=True)
        self._run(["systemctl", "--user", "daemon-reload"])

    def start(self) -> None:
        """See `Service.start`."""
        self._call("start", UNIT)

    def stop(self) -> None:
        """See `Service.stop`."""
        self._call("stop", UNIT)

    def _call(self, *arguments: str) -> None:
        if self._run(["systemctl", "--user", *arguments]) != 0:
            raise DidNotStart(
                f"`systemctl --user {' '.join(arguments)}` failed. Without a user session of systemd,"
                " start it with `jettythunder cdn start`."
            )


class Launchd:
    """A launchd agent of macOS."""

    def __init__(self, home: Path, run: Run) -> None:
        self.file = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
        self._logs = home / "Library" / "Logs" / "jettythunder-cdn.log"
        self._domain = f"gui/{os.getuid()}" if hasattr(os, "getuid") else "gui/0"
        self._run = run

    def install(self, environment: Mapping[str, str]) -> None:
        """See `Service.install`."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_bytes(agent(sys.executable, kept(environment), self._logs))
        self._run(["launchctl", "bootout", f"{self._domain}/{LABEL}"])
        self._call("bootstrap", self._domain, str(self.file))

    def uninstall(self) -> None:
        """See `Service.uninstall`."""
        self._run(["launchctl", "bootout", f"{self._domain}/{LABEL}"])
        self.file.unlink(missing_ok=True)

    def start(self) -> None:
        """See `Service.start`."""
        self._run(["launchctl", "bootstrap", self._domain, str(self.file)])
        self._call("kickstart", f"{self._domain}/{LABEL}")

    def stop(self) -> None:
        """See `Service.stop`."""
        self._call("bootout", f"{self._domain}/{LABEL}")

    def _call(self, *arguments: str) -> None:
        if self._run(["launchctl", *arguments]) != 0:
            raise DidNotStart(f"`launchctl {' '.join(arguments)}` failed.")


def service(*, run: Run | None = None) -> Service:
    """This system's service manager.

    Raises:
        NoServiceManager: it has none that is known.
    """
    found = _found(run or _run)
    if found is None:
        raise NoServiceManager
    return found


def installed(*, run: Run | None = None) -> Service | None:
    """The service, where it is installed."""
    found = _found(run or _run)
    return found if found is not None and found.file.exists() else None


def unit(python: str, environment: Mapping[str, str]) -> str:
    """The systemd unit's text."""
    variables = "".join(
        f'Environment="{name}={_escaped(value)}"\n' for name, value in sorted(environment.items())
    )
    # systemd starts no program with quotation marks in its name, and puts variables into all that follows it.
    program = _escaped(python).replace("$", "$$")
    return f"""\
[Unit]
Description=JettyThunder desktop CDN
Documentation=https://agentcache.ai

[Service]
ExecStart=/usr/bin/env "{program}" -m jettythunder_cdn
{variables}Restart=on-failure
RestartSec=5
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy=default.target
"""


def agent(python: str, environment: Mapping[str, str], log: Path) -> bytes:
    """The launchd agent's property list."""
    return plistlib.dumps(
        {
            "Label": LABEL,
            "ProgramArguments": [python, "-m", "jettythunder_cdn"],
            "EnvironmentVariables": dict(environment),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "StandardErrorPath": str(log),
            "Umask": 0o077,
        }
    )


def kept(environment: Mapping[str, str]) -> dict[str, str]:
    """What the service needs of the environment."""
    return {name: environment[name] for name in SERVICE_VARIABLES if environment.get(name)}


def _found(run: Run) -> Service | None:
    if sys.platform == "darwin":
        return Launchd(Path.home(), run)
    return Systemd(Path.home(), run) if shutil.which("systemctl") else None


def _escaped(value: str) -> str:
    """A value inside quotation marks of a unit."""
    plain = value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return plain.replace("\n", " ")


def _run(command: Sequence[str]) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode
