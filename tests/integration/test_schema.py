"""schema.sql and the migrations give the same database."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from tests.support.infrastructure import Infrastructure

from jettythunder_dev.packages import find_postgres
from jettythunder_dev.schema import SCHEMA, dump_schema, write_schema
from jettythunder_migrations import MigrationError, migrate


def test_schema_sql_gives_the_same_database_as_the_migrations(infrastructure: Infrastructure) -> None:
    folder = find_postgres()
    assert folder is not None
    with infrastructure.empty_database() as migrated, infrastructure.empty_database() as loaded:
        migrate(migrated)
        with SCHEMA.open() as script:
            subprocess.run(
                [folder / "psql", "--quiet", "--set=ON_ERROR_STOP=1", loaded], stdin=script, check=True
            )
        assert dump_schema(loaded) == dump_schema(migrated)


def test_schema_sql_is_up_to_date(empty_database: str) -> None:
    migrate(empty_database)
    assert SCHEMA.read_text() == dump_schema(empty_database), "run `make schema`"


def test_the_schema_is_written_from_the_migrations_and_no_database_is_left(
    infrastructure: Infrastructure, tmp_path: Path
) -> None:
    def databases() -> set[str]:
        with psycopg.connect(infrastructure.database_url) as connection:
            return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}

    before = databases()
    write_schema(infrastructure.database_url, tmp_path / "schema.sql")
    assert (tmp_path / "schema.sql").read_text() == SCHEMA.read_text()
    assert databases() == before


def test_a_database_that_cannot_be_migrated_is_left_as_it_was(empty_database: str) -> None:
    with psycopg.connect(empty_database) as connection:
        connection.execute("CREATE TABLE uploads ()")
    with pytest.raises(MigrationError, match='relation "uploads" already exists'):
        migrate(empty_database)
    with psycopg.connect(empty_database) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert tables == [("uploads",)]


def test_a_database_that_does_not_answer_is_named_as_the_reason() -> None:
    with pytest.raises(MigrationError, match="could not be brought up to date"):
        migrate("postgresql://nobody@127.0.0.1:1/none")


@pytest.fixture
def locked(empty_database: str) -> Iterator[psycopg.Connection]:
    """A migrated database whose table of versions another transaction has locked."""
    migrate(empty_database)
    with psycopg.connect(empty_database) as holder:
        holder.execute("LOCK TABLE alembic_version IN ACCESS EXCLUSIVE MODE")
        yield holder


def test_a_migration_that_waits_for_a_lock_gives_up_soon_and_begins_again(
    empty_database: str, locked: psycopg.Connection
) -> None:
    pauses: list[float] = []

    def release(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            locked.rollback()

    migrate(empty_database, lock_timeout_seconds=0.01, pause=release)
    assert pauses == [2, 4]


def test_a_migration_ends_with_a_sentence_where_a_lock_is_never_released(
    empty_database: str, locked: psycopg.Connection
) -> None:
    pauses: list[float] = []
    with pytest.raises(MigrationError, match=r"held the lock of a table for more than 0\.01 s"):
        migrate(empty_database, lock_timeout_seconds=0.01, lock_attempts=3, pause=pauses.append)
    assert pauses == [2, 4]


def test_migrating_twice_changes_nothing(empty_database: str) -> None:
    migrate(empty_database)
    first = dump_schema(empty_database)
    migrate(empty_database)
    assert dump_schema(empty_database) == first


def test_five_tiers_are_seeded(empty_database: str) -> None:
    migrate(empty_database)
    with psycopg.connect(empty_database) as connection:
        rows = connection.execute("SELECT * FROM tier_configs ORDER BY storage_quota_gb").fetchall()
    assert rows == [
        ("free", 0, 0, False, 10, 10),
        ("starter", 2, 10, False, 60, 50),
        ("pro", 20, 50, True, 300, 500),
        ("business", 100, 200, True, 1000, 1000),
        ("enterprise", 1000, 5000, True, 10000, 5000),
    ]
