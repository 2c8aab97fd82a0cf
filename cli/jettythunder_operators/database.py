"""`jettythunder db`: the database's schema."""

from __future__ import annotations

from typing import Annotated

import typer

from jettythunder.settings import DatabaseSettings
from jettythunder_client.errors import ClientError
from jettythunder_migrations import LOCK_ATTEMPTS, LOCK_TIMEOUT_SECONDS, MigrationError
from jettythunder_migrations import migrate as apply_migrations
from jettythunder_operators.operating import read_settings

app = typer.Typer(help="The database's schema.", no_args_is_help=True)


class MigrationFailed(ClientError):
    """The database's schema could not be brought up to date."""

    code, status, retryable = "migration_failed", 500, False


DatabaseUrl = Annotated[
    str | None, typer.Option(envvar="DATABASE_URL", help="PostgreSQL, postgresql://…", show_default=False)
]


@app.callback()
def root() -> None:
    """Keeps `db` a group of commands while it has only one."""


@app.command()
def migrate(
    database_url: DatabaseUrl = None,
    lock_timeout_seconds: Annotated[
        float,
        typer.Option(
            "--lock-timeout",
            envvar="MIGRATION_LOCK_TIMEOUT_SECONDS",
            min=0.001,
            help="Longest wait for a table's lock; statements of services wait behind it.",
        ),
    ] = LOCK_TIMEOUT_SECONDS,
    lock_attempts: Annotated[
        int,
        typer.Option(
            "--lock-attempts", envvar="MIGRATION_LOCK_ATTEMPTS", min=1, help="How often it is tried."
        ),
    ] = LOCK_ATTEMPTS,
) -> None:
    """Bring a database to the newest schema; safe to repeat, one at a time."""
    try:
        apply_migrations(
            database_url or str(read_settings(DatabaseSettings).database_url),
            lock_timeout_seconds=lock_timeout_seconds,
            lock_attempts=lock_attempts,
        )
    except MigrationError as error:
        raise MigrationFailed(str(error)) from error
