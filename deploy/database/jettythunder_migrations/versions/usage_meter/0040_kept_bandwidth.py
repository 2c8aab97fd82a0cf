"""Bandwidth that is kept while it is used."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0040"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
