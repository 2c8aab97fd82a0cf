"""Adjustments by asset."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0030"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
