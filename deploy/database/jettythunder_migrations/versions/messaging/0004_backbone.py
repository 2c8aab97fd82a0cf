"""Outbox and inbox."""

from jettythunder_migrations.migration_sql import run_beside

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_beside(__file__)
