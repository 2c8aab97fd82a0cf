"""PostgreSQL servers of a test's own: a primary with a standby, and one restored from its archive."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg import sql
from tests.support.infrastructure import START_SECONDS, choose_first_port, temporary_folder
from tests.support.logs import watched_logs
from tests.support.waiting import eventually_sync

from jettythunder_client.private_files import write_private
from jettythunder_dev.clients import ping_database
from jettythunder_dev.environment import new_secret
from jettythunder_dev.layout import find_layout, server_user
from jettythunder_dev.packages import POSTGRES, find_postgres, install
from jettythunder_dev.ports import PortAllocator
from jettythunder_dev.postgres import DATABASE, OWNER, SUPERUSER, NativePostgres

STANDBY = "standby"
_REPLICATION = "\nhost replication all 127.0.0.1/32 scram-sha-256\n"


@dataclass
class Server:
    """A PostgreSQL server with its data in a folder, ended with the test."""

    data: Path
    port: int
    superuser_password: str
    password: str
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def url(self, user: str = OWNER, database: str = DATABASE) -> str:
        """Where to connect to."""
        password = self.superuser_password if user == SUPERUSER else self.password
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    @property
    def superuser_url(self) -> str:
        return self.url(SUPERUSER, "postgres")

    def start(self, **settings: str) -> None:
        """Start it with settings beside those of its files, and wait until it answers."""
        given = {"port": str(self.port), **settings}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    program("postgres"),
                    *("-D", self.data),
                    *(f"--{name.replace('_', '-')}={value}" for name, value in given.items()),
                ],
                **as_server(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        eventually_sync(self._answers, timeout_seconds=START_SECONDS)

    def _answers(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended:\n{self.log.read_text()}")
        with suppress(psycopg.Error):
            ping_database(self.superuser_url)
            return True
        return False

    def kill(self) -> None:
        """SIGKILL all its processes, and wait until they are gone."""
        family = self._family()
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(family, timeout=10)
        if self.process is not None:
            self.process.wait()
            self.process = None

    def freeze(self) -> None:
        """SIGSTOP all its processes: connections stay, and nothing answers on them any more."""
        for member in self._family():
            with suppress(psutil.NoSuchProcess):
                member.suspend()

    def _family(self) -> list[psutil.Process]:
        if self.process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.process.pid)
            return [process, *process.children(recursive=True)]
        return []

    def stop(self) -> None:
        """End it in order, with a last checkpoint."""
        run("pg_ctl", "stop", "-D", self.data, "--mode=fast", "--wait")
        if self.process is not None:
            self.process.wait()
            self.process = None

    def promote(self) -> None:
        """Have it take writes from now on; returns when it does."""
        run("pg_ctl", "promote", "-D", self.data, "--wait")

    def execute(self, statement: str) -> None:
        """Run a statement as the superuser."""
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement))

    def value(self, statement: str) -> Any:
        """The one value of a query, asked as the superuser."""
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            row = connection.execute(sql.SQL(statement)).fetchone()
            return row[0] if row else None

    def back_up_to(self, folder: Path, *options: str) -> None:
        """Take a base backup; `options` are pg_basebackup's."""
        run("pg_basebackup", "-D", folder, f"--dbname={self.superuser_url}", "--checkpoint=fast", *options)


@dataclass
class Servers:
    """What a test starts, in one folder, on ports of its own."""

    folder: Path
    allocator: PortAllocator
    first_port: int = field(default_factory=choose_first_port)
    started: list[Server] = field(default_factory=list)

    def make_primary(self, **settings: str) -> Server:
        """A new server with the services' role and database, that others may replicate."""
        port = self.allocator.choose("primary", self.first_port)
        layout = find_layout(self.folder / "primary", {})
        layout.root.mkdir(mode=0o711)
        passwords = {"superuser_password": new_secret(), "password": new_secret()}
        made = NativePostgres(layout=layout, port=port, fsync=True, **passwords)
        made.prepare()
        access = layout.postgres / "pg_hba.conf"
        write_private(access, access.read_text() + _REPLICATION)
        give_to_server(access)
        server = self._server(layout.postgres, port, **passwords)
        server.start(**settings)
        made.complete()
        return server

    def copy_of(self, server: Server, data: Path) -> Server:
        """A server with the same users, on a port of its own, whose data is in the folder."""
        port = self.allocator.choose(data.name, self.first_port + 1)
        return self._server(
            data, port, superuser_password=server.superuser_password, password=server.password
        )

    def make_standby(self, primary: Server) -> Server:
        """A server that follows the primary; a commit waits from now on until it has it on disk."""
        data = self.empty_folder(STANDBY)
        follow = f"{primary.superuser_url.rpartition('/')[0]}/postgres?application_name={STANDBY}"
        run("pg_basebackup", "-D", data, f"--dbname={follow}", "--checkpoint=fast", "--write-recovery-conf")
        standby = self.copy_of(primary, data)
        standby.start()
        primary.execute(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")
        primary.execute("SELECT pg_reload_conf()")
        eventually_sync(
            lambda: primary.value("SELECT sync_state FROM pg_stat_replication") == "sync",
            timeout_seconds=START_SECONDS,
        )
        return standby

    def empty_folder(self, name: str) -> Path:
        """A folder that PostgreSQL may write to."""
        folder = self.folder / name
        folder.mkdir(mode=0o700)
        give_to_server(folder)
        return folder

    def _server(self, data: Path, port: int, *, superuser_password: str, password: str) -> Server:
        log = self.folder / f"{data.parent.name}-{data.name}-{port}.log"
        server = Server(data, port, superuser_password, password, log)
        self.started.append(server)
        return server


@contextmanager
def own_servers() -> Iterator[Servers]:
    """Servers that end with the block, and their data with them."""
    if find_postgres() is None:
        install([POSTGRES], print)
    with (
        temporary_folder() as folder,
        closing(PortAllocator(remembered={}, held={})) as allocator,
    ):
        watched_logs.watch(folder)
        servers = Servers(folder, allocator)
        try:
            yield servers
        finally:
            for server in servers.started:
                server.kill()


def program(name: str) -> Path:
    """One of PostgreSQL's programs."""
    folder = find_postgres()
    assert folder is not None
    return folder / name


def run(name: str, *arguments: str | Path) -> None:
    """Run one of PostgreSQL's programs as the servers' user; what it says is raised where it fails."""
    ended = subprocess.run(
        [program(name), *arguments], **as_server(), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, f"{name} {arguments}: {ended.stderr}"


def as_server() -> Mapping[str, Any]:
    """How a process is started as the user that PostgreSQL's data belongs to."""
    user = server_user()
    run_as = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    return {"cwd": "/", "env": {"PATH": os.environ["PATH"], "TZ": "UTC"}, **run_as}


def give_to_server(path: Path) -> None:
    user = server_user()
    if user:
        shutil.chown(path, user.pw_uid, user.pw_gid)
