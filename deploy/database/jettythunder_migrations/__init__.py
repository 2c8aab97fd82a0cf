"""The database's migrations, a folder of `versions` for each owner, and the function that applies them."""

import time
from collections.abc import Callable
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

FOLDER = Path(__file__).parent

LOCK_TIMEOUT_SECONDS = 5.0
LOCK_ATTEMPTS = 10
_LOCK_NOT_AVAILABLE = "55P03"
_LONGEST_PAUSE_SECONDS = 30.0


class MigrationError(Exception):
    """The migrations could not be applied, and the database is as it was before; the message says why."""


class _Locked(MigrationError):
    """A table is locked by somebody else."""


def migrate(
    database_url: str,
    *,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    lock_attempts: int = LOCK_ATTEMPTS,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Bring a PostgreSQL database to the newest schema, in one transaction.

    Safe to repeat. Of several processes that do it at the same moment one works and the others wait.

    Args:
        lock_timeout_seconds: the longest wait for a table's lock. Whoever wants the table meanwhile waits
            behind the migration, so it gives up soon and begins again.
        lock_attempts: how often it begins.
        pause: waits for some seconds between two attempts.

    Raises:
        MigrationError: the database can't be reached, refuses a migration, or its tables stay locked.
    """
    for attempt in range(1, lock_attempts + 1):
        try:
            _migrate_once(database_url, lock_timeout_seconds)
        except _Locked:
            if attempt == lock_attempts:
                raise
            pause(min(2.0**attempt, _LONGEST_PAUSE_SECONDS))
        else:
            return


def _migrate_once(database_url: str, lock_timeout_seconds: float) -> None:
    config = Config(
        attributes={"database_url": database_url, "lock_timeout_ms": round(lock_timeout_seconds * 1000)}
    )
    # ConfigParser reads a percent sign as the beginning of a placeholder.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("recursive_version_locations", "true")
    try:
        command.upgrade(config, "head")
    except (SQLAlchemyError, CommandError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        if getattr(reason, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise _Locked(
                "The database's schema could not be brought up to date: somebody else held the lock of a "
                f"table for more than {lock_timeout_seconds:g} s: {reason} End that transaction, and repeat."
            ) from error
        raise MigrationError(f"The database's schema could not be brought up to date: {reason}") from error
