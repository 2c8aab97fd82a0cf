"""PgBouncer in front of PostgreSQL is refused at the start, in each mode and however it is set up."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from tests.failover.servers import as_server, give_to_server
from tests.support.infrastructure import (
    START_SECONDS,
    Infrastructure,
    ServiceStarter,
    choose_first_port,
    temporary_folder,
)
from tests.support.waiting import eventually_sync

from jettythunder.database import Database
from jettythunder.errors import ConfigurationError
from jettythunder_client.private_files import write_private
from jettythunder_dev.clients import ping_database
from jettythunder_dev.packages import Package, install

PGBOUNCER = Package("PgBouncer", apt="pgbouncer", brew="pgbouncer")
REFUSAL = "leads to a connection pooler such as PgBouncer"
ROLE = "jettythunder_storage_gateway"

# Without the second, PgBouncer refuses the first connection by itself; with it, it drops what was asked for.
PASSED_OVER = "role,statement_timeout"

pytestmark = pytest.mark.failover


@pytest.mark.parametrize("mode", ["session", "transaction"])
@pytest.mark.parametrize("passed_over", ["", PASSED_OVER], ids=["as installed", "parameters ignored"])
async def test_a_pooler_is_refused(infrastructure: Infrastructure, mode: str, passed_over: str) -> None:
    with pgbouncer(infrastructure.database_url, mode=mode, passed_over=passed_over) as url:
        database = Database(url, name="tests", role=ROLE)
        with pytest.raises(ConfigurationError, match=REFUSAL):
            await database.open()


def test_a_service_does_not_start_behind_a_pooler(
    infrastructure: Infrastructure, start_service: ServiceStarter
) -> None:
    with pgbouncer(infrastructure.database_url, mode="transaction", passed_over=PASSED_OVER) as url:
        refused = start_service("storage-gateway", {"DATABASE_URL": url}, wait=False)
        assert refused.wait_for_end() != 0
    assert REFUSAL in refused.log()


@contextmanager
def pgbouncer(database_url: str, *, mode: str, passed_over: str) -> Iterator[str]:
    """PgBouncer in front of a database; its URL."""
    if shutil.which("pgbouncer", path="/usr/sbin:/usr/local/bin:/opt/homebrew/bin") is None:
        install([PGBOUNCER], print)
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/bin:/opt/homebrew/bin")
    assert found is not None
    server = conninfo_to_dict(database_url)
    port = choose_first_port() + 39
    with temporary_folder() as folder:
        users, settings, log = folder / "users", folder / "pgbouncer.ini", folder / "pgbouncer.log"
        write_private(users, f'"{server["user"]}" "{server["password"]}"\n')
        write_private(
            settings,
            "[databases]\n"
            f"* = host={server['host']} port={server['port']}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
            f"pool_mode = {mode}\nignore_startup_parameters = {passed_over}\n",
        )
        for path in (users, settings):
            give_to_server(path)
        with log.open("wb") as output:
            process = subprocess.Popen([found, settings], **as_server(), stdout=output, stderr=output)
        url = database_url.replace(f":{server['port']}/", f":{port}/")

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            with suppress(psycopg.OperationalError):
                ping_database(url)
                return True
            return False

        try:
            eventually_sync(answers, timeout_seconds=START_SECONDS)
            yield url
        finally:
            process.kill()
            process.wait()
