"""The process manager: one supervisord per data folder, controlled over its socket."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import xmlrpc.client
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from string import Template
from typing import Any

import psutil
from supervisor.xmlrpc import Faults, SupervisorTransport

from jettythunder_client.private_files import write_private
from jettythunder_dev.errors import StackError
from jettythunder_dev.layout import Layout, current_user, read_template
from jettythunder_dev.programs import Program

# Every process of a stack inherits this variable with the data folder as its value. By it those are found
# that a killed supervisord left behind.
MARKER = "JETTYTHUNDER_STACK"
INHERITED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)


@dataclass(frozen=True)
class ProcessInfo:
    """One program as supervisord sees it. `state` is supervisor's word: RUNNING, BACKOFF, FATAL …"""

    name: str
    state: str
    pid: int | None
    started_at_seconds: int


def render_value(name: str, value: str) -> str:
    """A value for supervisor's `environment=`, whose quoting knows no escapes."""
    quote = "'" if '"' in value else '"'
    quoted_at_an_end = value != value.strip("'\"")
    if quoted_at_an_end or quote in value or "\n" in value or " ;" in value or " #" in value:
        raise StackError(
            f"{name} begins or ends with a quote, or holds both kinds of quotes, a line break or a blank "
            "before `;` or `#`, which the process manager cannot pass on: give it a value without these."
        )
    return f"{name}={quote}{value.replace('%', '%%')}{quote}"


def render_command(command: Iterable[str]) -> str:
    """A command line for supervisor, which splits it as a shell would."""
    return " ".join(f'"{part}"' if " " in part else part for part in command).replace("%", "%%")


def render_program(program: Program, *, layout: Layout, autorestart: bool) -> str:
    """The section of supervisord's configuration for one program."""
    settings = {
        "command": render_command(program.command),
        "directory": str(program.directory),
        "priority": str(program.priority),
        "autostart": "false",
        "autorestart": "true" if autorestart else "false",
        "startsecs": "1",
        "startretries": "10" if autorestart else "0",
        "stopsignal": program.stop_signal,
        "stopwaitsecs": str(program.stop_wait_seconds),
        "killasgroup": "true",
        "stdout_logfile": str(layout.logs / f"{program.name}.log"),
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": "3",
        "redirect_stderr": "true",
    }
    if program.user:
        settings["user"] = program.user
    if program.environment:
        settings["environment"] = ",".join(
            render_value(name, value) for name, value in program.environment.items()
        )
    lines = "\n".join(f"{name} = {value}" for name, value in settings.items())
    return f"[program:{program.name}]\n{lines}\n"


class Supervisor:
    """The supervisord of one data folder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._config = layout.run / "supervisord.conf"
        self._pid_file = layout.run / "supervisord.pid"

    def write_config(self, programs: Iterable[Program], *, autorestart: bool) -> None:
        """Write the configuration. It holds the services' secrets, so only its owner reads it."""
        header = Template(read_template("supervisord.conf")).substitute(
            root=self._layout.root,
            logs=self._layout.logs,
            pid_file=self._pid_file,
            identifier=self._layout.identifier,
            socket=self._layout.supervisor_socket,
            run_as="user = root\n" if os.getuid() == 0 else "",
        )
        sections = [
            render_program(program, layout=self._layout, autorestart=autorestart) for program in programs
        ]
        write_private(self._config, "\n".join([header, *sections]))

    @property
    def _calls(self) -> Any:
        transport = SupervisorTransport(None, None, f"unix://{self._layout.supervisor_socket}")
        return xmlrpc.client.ServerProxy("http://localhost", transport=transport).supervisor

    def pid(self) -> int | None:
        """The pid of the supervisord that answers on this data folder's socket, else None."""
        if not self._layout.supervisor_socket.exists():
            return None
        try:
            pid: int = self._calls.getPID()
        except (OSError, xmlrpc.client.Error):
            return None
        return pid

    def start(self, *, timeout_seconds: float = 10) -> None:
        """Start supervisord, detached, with none of its programs running yet."""
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {MARKER: str(self._layout.root), "USER": current_user()}
        started = subprocess.run(
            [sys.executable, "-m", "jettythunder_dev.supervisord", "-c", str(self._config)],
            env=environment,
            cwd=self._layout.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if started.returncode:
            raise StackError(
                f"The process manager did not start: {(started.stdout + started.stderr).strip()}"
            )
        deadline = time.monotonic() + timeout_seconds
        while self.pid() is None:
            if time.monotonic() > deadline:
                raise StackError(
                    f"The process manager does not answer; see {self._layout.logs / 'supervisord.log'}."
                )
            time.sleep(0.05)

    def reload(self) -> None:
        """Take over a changed configuration: end what is gone or changed, know what is new or changed.

        What is new or changed is not started yet.
        """
        added, changed, removed = self._calls.reloadConfig()[0]
        for name in (*changed, *removed):
            self.stop_program(name)
            self._calls.removeProcessGroup(name)
        for name in (*added, *changed):
            self._calls.addProcessGroup(name)

    def processes(self) -> list[ProcessInfo]:
        """All programs, in the order of their start; empty where supervisord does not run."""
        if self.pid() is None:
            return []
        priorities = self._priorities()
        found = [
            ProcessInfo(
                name=info["name"],
                state=info["statename"],
                pid=info["pid"] or None,
                started_at_seconds=info["start"],
            )
            for info in self._calls.getAllProcessInfo()
        ]
        return sorted(found, key=lambda info: (priorities.get(info.name, 0), info.name))

    def _priorities(self) -> dict[str, int]:
        return {info["name"]: info["process_prio"] for info in self._calls.getAllConfigInfo()}

    def process(self, name: str) -> ProcessInfo:
        """One program; raises StackError where there is none of that name."""
        for info in self.processes():
            if info.name == name:
                return info
        raise StackError(f"The stack runs no program `{name}`; `jettythunder stack status` lists them.")

    def start_program(self, name: str) -> bool:
        """Start the program without waiting; returns False, doing nothing, where it runs."""
        try:
            self._calls.startProcess(name, False)
        except xmlrpc.client.Fault as error:
            if error.faultCode != Faults.ALREADY_STARTED:
                raise
            return False
        return True

    def stop_program(self, name: str) -> None:
        """Stop the program by its stop signal and wait for its end; does nothing where it is stopped."""
        try:
            self._calls.stopProcess(name, True)
        except xmlrpc.client.Fault as error:
            if error.faultCode != Faults.NOT_RUNNING:
                raise

    def shut_down(self) -> None:
        """Stop all programs, last started first, then supervisord, and wait for its end.

        Those of one priority are stopped side by side.
        """
        pid = self.pid()
        if pid is None:
            return
        process = psutil.Process(pid)
        priorities = self._priorities()
        for priority in sorted(set(priorities.values()), reverse=True):
            names = [name for name in priorities if priorities[name] == priority]
            with ThreadPoolExecutor(max_workers=len(names)) as pool:
                list(pool.map(self.stop_program, names))
        with contextlib.suppress(OSError, xmlrpc.client.Error):
            self._calls.shutdown()
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(timeout=60)

    def log_tail(self, name: str, lines: int = 15) -> str:
        """The last lines of a program's log."""
        path = self._layout.logs / f"{name}.log"
        if not path.exists():
            return ""
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


def find_orphans(layout: Layout) -> list[psutil.Process]:
    """Processes of this stack, running without their process manager or left behind by it."""
    return [
        process
        for process in psutil.process_iter()
        if process.pid != os.getpid() and _marker_of(process) == str(layout.root)
    ]


def _marker_of(process: psutil.Process) -> str | None:
    try:
        environment: Mapping[str, str] = process.environ()
    except (psutil.Error, OSError):
        return None
    return environment.get(MARKER)


def end_orphans(layout: Layout, *, timeout_seconds: float = 15) -> int:
    """End the stack's orphaned processes, SIGTERM first, then SIGKILL; returns how many there were."""
    orphans = find_orphans(layout)
    for ask in (psutil.Process.terminate, psutil.Process.kill):
        for process in find_orphans(layout):
            with contextlib.suppress(psutil.Error):
                ask(process)
        psutil.wait_procs(find_orphans(layout), timeout=timeout_seconds)
    return len(orphans)
