"""PostgreSQL as a role: a cluster of its own in the data folder, reached by TCP on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from string import Template
from urllib.parse import quote

from jettythunder_client.private_files import write_private
from jettythunder_dev.clients import make_database, ping_database
from jettythunder_dev.errors import StackError
from jettythunder_dev.layout import Layout, read_template, server_user
from jettythunder_dev.packages import find_postgres, postgres_version
from jettythunder_dev.programs import Program

DATABASE = "jettythunder"
OWNER = "jettythunder"
SUPERUSER = "postgres"


class NativePostgres:
    """A cluster under `layout.postgres`, run by the system's PostgreSQL programs.

    The cluster's superuser only makes the services' role and database; what services get is the role, which
    has a password of its own. Without `fsync` what is committed outlives the server, but not the machine.
    """

    name = "postgres"
    source = "native"

    def __init__(
        self, *, layout: Layout, port: int, superuser_password: str, password: str, fsync: bool = True
    ) -> None:
        self._folder = layout.postgres
        self._port = port
        self._superuser_password = superuser_password
        self._password = password
        self._fsync = fsync
        self._programs = self._find_programs()
        self.version = postgres_version(self._programs)

    def _find_programs(self) -> Path:
        marker = self._folder / "PG_VERSION"
        major_version = marker.read_text().strip() if marker.exists() else None
        programs = find_postgres(major_version)
        if programs is None:
            wanted = f"PostgreSQL {major_version}" if major_version else "PostgreSQL"
            raise StackError(
                f"{wanted}, which made the data in {self._folder}, is not installed: install it, or "
                "remove the data with `make purge`."
            )
        return programs

    def prepare(self) -> None:
        """Make the cluster, where there is none, and write its configuration."""
        if not (self._folder / "PG_VERSION").exists():
            self._make_cluster()
        settings = Template(read_template("postgresql.conf")).substitute(
            port=self._port, fsync="on" if self._fsync else "off"
        )
        for name, text in (("postgresql.conf", settings), ("pg_hba.conf", read_template("pg_hba.conf"))):
            path = self._folder / name
            write_private(path, text)
            self._give_to_server(path)

    def _make_cluster(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(mode=0o700)
        self._give_to_server(self._folder)
        password_file = self._folder.with_name("postgres.password")
        write_private(password_file, self._superuser_password)
        self._give_to_server(password_file)
        user = server_user()
        try:
            made = subprocess.run(
                [
                    self._programs / "initdb",
                    f"--pgdata={self._folder}",
                    f"--username={SUPERUSER}",
                    f"--pwfile={password_file}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    *(() if self._fsync else ("--no-sync",)),
                ],
                cwd="/",
                env={"PATH": os.environ.get("PATH", os.defpath), "TZ": "UTC"},
                capture_output=True,
                text=True,
                check=False,
                user=user.pw_uid if user else None,
                group=user.pw_gid if user else None,
                extra_groups=[] if user else None,
            )
        finally:
            password_file.unlink()
        if made.returncode:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise StackError(f"PostgreSQL could not make its data in {self._folder}:\n{made.stderr.strip()}")

    def _give_to_server(self, path: Path) -> None:
        user = server_user()
        if user:
            os.chown(path, user.pw_uid, user.pw_gid)

    def programs(self) -> list[Program]:
        user = server_user()
        return [
            Program(
                name=self.name,
                command=[str(self._programs / "postgres"), "-D", str(self._folder)],
                directory=self._folder,
                user=user.pw_name if user else None,
                priority=10,
                stop_signal="INT",  # PostgreSQL's fast shutdown: sessions are ended, nothing is lost
                stop_wait_seconds=20,
            )
        ]

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{quote(password, safe='')}@127.0.0.1:{self._port}/{database}"

    @property
    def _superuser_url(self) -> str:
        return self._url(SUPERUSER, self._superuser_password, "postgres")

    def ping(self) -> None:
        ping_database(self._superuser_url)

    def complete(self) -> None:
        """Make the services' role and database."""
        make_database(self._superuser_url, owner=OWNER, password=self._password, database=DATABASE)

    def variables(self) -> dict[str, str]:
        return {"DATABASE_URL": self._url(OWNER, self._password, DATABASE)}

    def describe(self) -> str:
        return f"PostgreSQL {self.version} on 127.0.0.1:{self._port}"
