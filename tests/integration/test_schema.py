"""schema.sql and the migrations give the same database."""

import subprocess

import psycopg
from tests.support.infrastructure import Infrastructure

from jettythunder_cli.stack.packages import find_postgres
from jettythunder_cli.stack.schema import SCHEMA, dump_schema
from jettythunder_operators.migrations import migrate as apply_migrations


def test_schema_sql_gives_the_same_database_as_the_migrations(infrastructure: Infrastructure) -> None:
    folder = find_postgres()
    assert folder is not None
    with infrastructure.empty_database() as migrated, infrastructure.empty_database() as loaded:
        apply_migrations(migrated)
        with SCHEMA.open() as script:
            subprocess.run(
                [folder / "psql", "--quiet", "--set=ON_ERROR_STOP=1", loaded], stdin=script, check=True
            )
        assert dump_schema(loaded) == dump_schema(migrated)


def test_schema_sql_is_up_to_date(empty_database: str) -> None:
    apply_migrations(empty_database)
    assert SCHEMA.read_text() == dump_schema(empty_database), "run `make schema`"


def test_migrating_twice_changes_nothing(empty_database: str) -> None:
    apply_migrations(empty_database)
    first = dump_schema(empty_database)
    apply_migrations(empty_database)
    assert dump_schema(empty_database) == first


def test_five_tiers_are_seeded(empty_database: str) -> None:
    apply_migrations(empty_database)
    with psycopg.connect(empty_database) as connection:
        rows = connection.execute("SELECT * FROM tier_configs ORDER BY storage_quota_gb").fetchall()
    assert rows == [
        ("free", 0, 0, False, 10, 10),
        ("starter", 2, 10, False, 60, 50),
        ("pro", 20, 50, True, 300, 500),
        ("business", 100, 200, True, 1000, 1000),
        ("enterprise", 1000, 5000, True, 10000, 5000),
    ]
