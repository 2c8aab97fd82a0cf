"""Choosing ports: the preferred one where it is free, else the next free one, remembered per data folder."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import psutil

from jettythunder_dev.errors import StackError

SEARCHED_PORTS = 500


def is_free(port: int) -> bool:
    """Whether nothing listens on the port on loopback or on all addresses."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def holder_of(port: int) -> str | None:
    """The process that listens on the port, as `name (pid 123)`, where the system lets us see it."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            address = connection.laddr
            if (
                connection.status == psutil.CONN_LISTEN
                and address
                and address.port == port
                and connection.pid
            ):
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return None


def require_free(port: int, variable: str) -> None:
    """Raise StackError, naming the holder and the variable to set, where the port is taken."""
    if not is_free(port):
        holder = holder_of(port) or "another process"
        raise StackError(
            f"Port {port} is in use by {holder}: stop it, or choose another port with {variable}, "
            f"for example `{variable}={port + 80} make up`."
        )


class PortAllocator:
    """The ports of one stack by name.

    `remembered` are those of the last start, kept where still free; `held` are those of the running stack,
    kept as they are where something listens on them. A chosen port is claimed until `close`, so that stacks
    which start at the same moment choose different ones.
    """

    def __init__(self, *, remembered: Mapping[str, int], held: Mapping[str, int]) -> None:
        self.chosen: dict[str, int] = {}
        self._remembered = remembered
        self._held = held
        self._claims: list[IO[str]] = []

    def choose(self, name: str, preferred: int) -> int:
        """The port for the name: held, remembered, preferred, or the next free one above."""
        held = self._held.get(name)
        # What listened on it may have ended since; then it is chosen like any other, so that it is claimed.
        if held is not None and not is_free(held):
            return self.fix(name, held)
        candidates = [preferred + step for step in range(SEARCHED_PORTS)]
        if name in self._remembered:
            candidates.insert(0, self._remembered[name])
        for port in candidates:
            if port not in self.chosen.values() and is_free(port) and self._claim(port):
                return self.fix(name, port)
        raise StackError(
            f"No port is free for {name} between {preferred} and {preferred + SEARCHED_PORTS}: stop what "
            "holds them."
        )

    def _claim(self, port: int) -> bool:
        """Whether no other stack is about to listen on the port."""
        path = Path(tempfile.gettempdir()) / f"jettythunder-port-{port}.lock"
        try:
            claim = path.open("w")
        except OSError:  # another user's, who may well be about to use the port
            return False
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return True

    def close(self) -> None:
        """Give up the claims: by now the ports are listened on, or will not be."""
        for claim in self._claims:
            Path(claim.name).unlink(missing_ok=True)
            claim.close()
        self._claims.clear()

    def fix(self, name: str, port: int) -> int:
        """Record a port that was settled elsewhere."""
        self.chosen[name] = port
        return port
