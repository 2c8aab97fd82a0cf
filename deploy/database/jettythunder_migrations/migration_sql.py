"""A migration is a plain SQL file beside its Python stub: readable, and runnable by hand."""

from pathlib import Path

from alembic import op


def run_beside(stub: str) -> None:
    """Run the .sql file that has the stub's name, in the migration's transaction."""
    statements = Path(stub).with_suffix(".sql").read_text(encoding="utf-8")
    # The driver reads a percent sign as the beginning of a placeholder.
    op.get_bind().exec_driver_sql(statements.replace("%", "%%"))
