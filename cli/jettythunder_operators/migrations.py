"""Bringing a database to the newest schema, with the migrations that this distribution has in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from jettythunder_client.errors import ClientError

_PACKAGED = Path(__file__).parent / "database"
_CHECKOUT = Path(__file__).resolve().parents[2] / "deploy" / "database"
FOLDER = _PACKAGED if _PACKAGED.exists() else _CHECKOUT


class MigrationFailed(ClientError):
    """The database's schema could not be brought up to date."""

    code, status, retryable = "migration_failed", 500, False


def migrate(database_url: str) -> None:
    """Apply the migrations that are missing, all or none; safe to repeat, one at a time.

    Raises:
        MigrationFailed: with the last words of the migration tool.
    """
    finished = subprocess.run(
        [sys.executable, "-m", "alembic", "-c", str(FOLDER / "alembic.ini"), "upgrade", "head"],
        cwd=FOLDER,
        env={**os.environ, "DATABASE_URL": database_url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        last_lines = "\n".join((finished.stdout + finished.stderr).strip().splitlines()[-15:])
        raise MigrationFailed(f"The database's schema could not be brought up to date:\n{last_lines}")
