"""A migration is a plain SQL file beside its Python stub: readable, and runnable by hand."""

from pathlib import Path

from alembic import op


def run_beside(stub: str) -> None:
    """Run the .sql file that has the stub's name, in the migration's transaction."""
    op.get_bind().exec_driver_sql(Path(stub).with_suffix(".sql").read_text(encoding="utf-8"))
