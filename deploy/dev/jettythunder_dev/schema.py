"""The database's schema as one file: what the migrations make, dumped from a scratch database."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from jettythunder_dev.errors import StackError
from jettythunder_dev.layout import REPOSITORY
from jettythunder_dev.packages import find_postgres
from jettythunder_migrations import FOLDER, MigrationError, migrate

SCHEMA = REPOSITORY / "deploy" / "database" / "schema.sql"

_SCRATCH = "jettythunder_schema"
_HEADER = """\
-- JettyThunder's schema, as the migrations make it, written by `make schema`: to change it, add a migration.
-- On an empty database: psql $DATABASE_URL < deploy/database/schema.sql

-- Functions come before the tables they name.
SET check_function_bodies = false;

-- Each service works as a role of its own.
"""
_ROLES = ("messaging/0008_roles.sql", "chunk_worker/0056_edge_role.sql")
_SEEDED = ("tier_configs", "usage_prices", "master_keys", "alembic_version")


def write_schema(database_url: str, output: Path) -> None:
    """Write the schema that the migrations make, using a scratch database on the URL's server.

    Raises:
        StackError: the server can't be used, or refuses a migration.
    """
    name = sql.Identifier(_SCRATCH)
    scratch = urlsplit(database_url)._replace(path=f"/{_SCRATCH}").geturl()
    try:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
            try:
                migrate(scratch)
                output.write_text(dump_schema(scratch), encoding="utf-8")
            finally:
                # Not by force, which only a superuser may use while an autovacuum worker is there.
                connection.execute(sql.SQL("DROP DATABASE {}").format(name))
    except (psycopg.Error, MigrationError) as error:
        raise StackError(f"The schema could not be written: {error}") from error


def dump_schema(database_url: str) -> str:
    """A database's schema and seeded rows as SQL, the same for the same schema."""
    folder = find_postgres()
    program = folder / "pg_dump" if folder else Path("pg_dump")
    shared = [str(program), "--no-owner", f"--dbname={database_url}"]
    tables = [f"--table={table}" for table in _SEEDED]
    structure = subprocess.run([*shared, "--schema-only"], capture_output=True, text=True, check=True).stdout
    rows = subprocess.run(
        [*shared, "--data-only", "--column-inserts", *tables], capture_output=True, text=True, check=True
    ).stdout
    return f"{_HEADER}{_roles()}\n\n{_comparable(structure)}\n\n{_comparable(rows)}\n"


def _roles() -> str:
    """The statements that make the services' roles: a dump has their rights, and not the roles."""
    migrations = [(FOLDER / "versions" / name).read_text(encoding="utf-8") for name in _ROLES]
    return "\n".join(
        text[text.index("DO $$") : text.index("END $$;") + len("END $$;")] for text in migrations
    )


def _comparable(dumped: str) -> str:
    """The dump without what differs between versions of pg_dump, and without its comments and settings."""
    lines = [
        line
        for line in dumped.splitlines()
        if not line.startswith(("--", "SET ", "\\", "SELECT pg_catalog.set_config"))
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
