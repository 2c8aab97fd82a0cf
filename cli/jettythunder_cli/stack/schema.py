"""`jettythunder stack schema`: write the schema that the migrations make as one file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import psycopg
import typer
from psycopg import sql

from jettythunder_cli.frame.output import errors
from jettythunder_cli.stack.packages import find_postgres
from jettythunder_operators.migrations import FOLDER
from jettythunder_operators.migrations import migrate as apply_migrations

SCHEMA = FOLDER / "schema.sql"

_SCRATCH = "jettythunder_schema"
_HEADER = """\
-- JettyThunder's schema, as the migrations make it, written by `make schema`: to change it, add a migration.
-- On an empty database: psql $DATABASE_URL < deploy/database/schema.sql

-- Functions come before the tables they name.
SET check_function_bodies = false;
"""
_SEEDED = ("tier_configs", "usage_prices", "alembic_version")

DatabaseUrl = Annotated[str, typer.Option(envvar="DATABASE_URL", help="PostgreSQL, postgresql://…")]


def schema(
    database_url: DatabaseUrl,
    output: Annotated[Path, typer.Option(help="Where to write it.")] = SCHEMA,
) -> None:
    """Write the schema that the migrations make, by way of a scratch database on DATABASE_URL's server."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = sql.Identifier(_SCRATCH)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            scratch = urlsplit(database_url)._replace(path=f"/{_SCRATCH}").geturl()
            apply_migrations(scratch)
            output.write_text(dump_schema(scratch), encoding="utf-8")
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    errors.print(f"Wrote {output}.", soft_wrap=True)


def dump_schema(database_url: str) -> str:
    """A database's schema and seeded rows as SQL, the same for the same schema."""
    folder = find_postgres()
    program = folder / "pg_dump" if folder else Path("pg_dump")
    shared = [str(program), "--no-owner", "--no-privileges", f"--dbname={database_url}"]
    tables = [f"--table={table}" for table in _SEEDED]
    structure = subprocess.run([*shared, "--schema-only"], capture_output=True, text=True, check=True).stdout
    rows = subprocess.run(
        [*shared, "--data-only", "--column-inserts", *tables], capture_output=True, text=True, check=True
    ).stdout
    return f"{_HEADER}\n{_essence(structure)}\n\n{_essence(rows)}\n"


def _essence(dumped: str) -> str:
    # What differs between versions of pg_dump, or says nothing, is left out.
    lines = [
        line
        for line in dumped.splitlines()
        if not line.startswith(("--", "SET ", "\\", "SELECT pg_catalog.set_config"))
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()
