"""The database's migrations, a folder of `versions` for each owner, and the function that applies them."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

FOLDER = Path(__file__).parent


class MigrationError(Exception):
    """The migrations could not be applied, and the database is as it was before; the message says why."""


def migrate(database_url: str) -> None:
    """Bring a PostgreSQL database to the newest schema, in one transaction.

    Safe to repeat. Of several processes that do it at the same moment one works and the others wait.

    Raises:
        MigrationError: the database can't be reached, or refuses a migration.
    """
    config = Config(attributes={"database_url": database_url})
    # ConfigParser reads a percent sign as the beginning of a placeholder.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("recursive_version_locations", "true")
    try:
        command.upgrade(config, "head")
    except (SQLAlchemyError, CommandError) as error:
        reason = error.orig if isinstance(error, DBAPIError) else error
        raise MigrationError(f"The database's schema could not be brought up to date: {reason}") from error
