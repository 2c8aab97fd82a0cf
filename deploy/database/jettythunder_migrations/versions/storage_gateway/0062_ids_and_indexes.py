"""Ids that begin with their time, and indexes for what is looked for."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0062"
down_revision = "0061"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
